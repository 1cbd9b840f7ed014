"""The product of an evaluation: a folder of tables, finished once evaluate.json is there.

scores.csv       one row a model and material: pooled over all pixels, and mean over images
per_image.csv    one row a model, image and material
confusion.csv    one row a model and pair of materials: annotated, predicted, pixels
evaluate.json    macro-F1 of each model, the best one, and the recipe; written last

Definitions are in `xctvol.model.scores`; an empty cell is a score that does not exist.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, PlanError
from xctvol.files import read_json, remove_tree, staged, write_json
from xctvol.journal import Recipe
from xctvol.model.scores import METRICS, MaterialScores
from xctvol.plan import read_recipe

__all__ = ["Counts", "ScoreRow", "Scores", "ScoresProduct", "open_scores", "write_scores"]

_MARK = "evaluate.json"
_SCORES, _PER_IMAGE, _CONFUSION = "scores.csv", "per_image.csv", "confusion.csv"
_WORK = ".xctvol"


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one model and material; NaN where a score does not exist."""

    model: str
    material: str
    pixels: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    image_mean_accuracy: float
    image_mean_precision: float
    image_mean_recall: float
    image_mean_f1: float


@dataclass(frozen=True)
class Scores:
    """A finished evaluation. `macro_f1` is of each model, over the pooled pixels."""

    path: Path
    table: tuple[ScoreRow, ...]
    macro_f1: dict[str, float]
    best: Path
    """File of the model with the largest macro-F1; of equal ones the first."""


@dataclass(frozen=True)
class Counts:
    """Confusion matrices (models, images, materials, materials): [annotated, predicted]."""

    models: tuple[Path, ...]
    images: tuple[str, ...]
    materials: tuple[str, ...]
    pixels: NDArray[np.int64]

    @property
    def model_names(self) -> tuple[str, ...]:
        """The file's stem where that is enough to tell the models apart, else its path."""
        stems = tuple(path.stem for path in self.models)
        return stems if len(set(stems)) == len(stems) else tuple(map(str, self.models))


@dataclass(frozen=True)
class ScoresProduct:
    """A folder of scores as the product of a plan. Other files in it are left alone."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / _WORK

    def made_by(self) -> Recipe | None:
        mark = self.path / _MARK
        if mark.exists():
            return read_recipe(mark, _read_record(mark).get("recipe"))
        if not self.path.exists() or self.work.is_dir():
            return None
        if self.path.is_dir() and not any(self.path.iterdir()):
            return None
        raise PlanError(
            f"{self.path} exists and holds no scores of xctvol, which will not write into it; "
            "choose another folder, or a new one"
        )

    def open(self) -> Scores:
        return open_scores(self.path)

    def remove(self) -> None:
        for name in (_MARK, _SCORES, _PER_IMAGE, _CONFUSION, _WORK):
            remove_tree(self.path / name)


def open_scores(path: str | Path) -> Scores:
    """The scores in a folder; raises InputError where there are none, or they are unfinished."""
    path = Path(path)
    if not (path / _MARK).exists():
        state = "holds no finished scores" if path.exists() else "does not exist"
        raise InputError(f"{path} {state}; run xctvol evaluate")
    record = _read_record(path / _MARK)
    try:
        with open(path / _SCORES, newline="", encoding="utf-8") as file:
            table = tuple(_row(cells) for cells in csv.DictReader(file))
        return Scores(path, table, dict(record["macro_f1"]), Path(record["best"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the scores in {path} are damaged: {error!r}; evaluate again") from error


def write_scores(path: Path, counts: Counts, recipe: Recipe) -> None:
    """Write all tables, then the record that marks them as finished."""
    per_image = MaterialScores.of(counts.pixels)
    pooled = MaterialScores.of(counts.pixels.sum(1))
    rows = _score_rows(counts, pooled, per_image.mean(axis=1))
    _write_csv(path / _SCORES, [field.name for field in fields(ScoreRow)], map(astuple, rows))
    _write_csv(
        path / _PER_IMAGE,
        ["model", "image", "material", "pixels", "predicted_pixels", *METRICS],
        _image_rows(counts, per_image),
    )
    _write_csv(
        path / _CONFUSION, ["model", "annotated", "predicted", "pixels"], _confusion_rows(counts)
    )
    macro = [float(value) for value in np.nan_to_num(pooled.macro_f1)]
    record = {
        "recipe": recipe.to_json(),
        "macro_f1": dict(zip(counts.model_names, macro, strict=True)),
        "best": str(counts.models[int(np.argmax(macro))].absolute()),
    }
    write_json(path / _MARK, record)


def _score_rows(
    counts: Counts, pooled: MaterialScores, image_mean: MaterialScores
) -> list[ScoreRow]:
    annotated = counts.pixels.sum((1, 3))
    return [
        ScoreRow(
            name,
            material,
            int(annotated[m, k]),
            *(float(getattr(pooled, metric)[m, k]) for metric in METRICS),
            *(float(getattr(image_mean, metric)[m, k]) for metric in METRICS),
        )
        for m, name in enumerate(counts.model_names)
        for k, material in enumerate(counts.materials)
    ]


def _image_rows(counts: Counts, scores: MaterialScores) -> Iterable[Sequence[Any]]:
    for m, name in enumerate(counts.model_names):
        for i, image in enumerate(counts.images):
            for k, material in enumerate(counts.materials):
                pixels = counts.pixels[m, i]
                values = (float(getattr(scores, metric)[m, i, k]) for metric in METRICS)
                yield (name, image, material, pixels[k].sum(), pixels[:, k].sum(), *values)


def _confusion_rows(counts: Counts) -> Iterable[Sequence[Any]]:
    pooled = counts.pixels.sum(1)
    for (m, a, p), pixels in np.ndenumerate(pooled):
        yield (counts.model_names[m], counts.materials[a], counts.materials[p], pixels)


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with staged(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _row(cells: dict[str, str]) -> ScoreRow:
    kinds = {field.name: field.type for field in fields(ScoreRow)}
    values: dict[str, Any] = {
        name: cells[name] if kind is str else kind(cells[name] or "nan")
        for name, kind in kinds.items()
        if isinstance(kind, type)
    }
    return ScoreRow(**values)


def _read_record(mark: Path) -> dict[str, Any]:
    record = read_json(mark)
    if not isinstance(record, dict):
        raise InputError(f"{mark} is not a record of scores; evaluate again with --overwrite")
    return record
