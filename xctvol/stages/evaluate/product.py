"""The product of an evaluation: a folder of tables, finished once evaluate.json is there.

scores.csv       one row a model and material: pooled over all pixels, and mean over images
scores.png       the same as a picture
per_image.csv    one row a model, image and material
confusion.csv    one row a model and pair of materials: annotated, predicted, pixels
evaluate.json    scores.csv, macro-F1 of each model, the best one, and the recipe; written last

What several models decide together stands in all of them as one more model, and so does a
baseline; `kind` tells them apart. Pixels that no material was predicted for are counted as
unlabelled.

Definitions are in `xctvol.model.scores` and `boundaries`; an empty cell, or null, is a score that
does not exist.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import staged
from xctvol.journal import Recipe
from xctvol.materials import Materials
from xctvol.model.scores import METRICS, MaterialScores, mean_without_nan
from xctvol.plan import FolderProduct
from xctvol.stages.evaluate.boundaries import boundary_f1
from xctvol.stages.evaluate.figure import draw_scores

__all__ = ["Counts", "ScoreRow", "Scores", "ScoresProduct", "open_scores", "write_scores"]

_SCORES, _PER_IMAGE, _CONFUSION = "scores.csv", "per_image.csv", "confusion.csv"
_FIGURE = "scores.png"
_NONE = "unlabelled"

Metrics = dict[str, NDArray[np.float64]]
"""Values (..., materials) of each metric, in the order of the tables."""


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one model and material; NaN where a score does not exist.

    `kind` is model, ensemble or baseline.
    """

    model: str
    kind: str
    material: str
    pixels: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    iou: float
    boundary_f1: float
    image_mean_accuracy: float
    image_mean_precision: float
    image_mean_recall: float
    image_mean_f1: float
    image_mean_iou: float
    image_mean_boundary_f1: float


@dataclass(frozen=True)
class Scores:
    """A finished evaluation. `macro_f1` is of each model, over the pooled pixels."""

    path: Path
    table: tuple[ScoreRow, ...]
    macro_f1: dict[str, float]
    best: Path
    """File of the model with the largest macro-F1; of equal ones the first. Always one model."""


@dataclass(frozen=True)
class Counts:
    """Counts of each model, and after them of `others`, names and kinds, on each image.

    `pixels` holds confusion matrices (models, images, materials, materials + 1): [annotated,
    predicted]; `boundaries` (models, images, materials, 4) what `boundary_counts` returns.
    """

    models: tuple[Path, ...]
    others: tuple[tuple[str, str], ...]
    images: tuple[str, ...]
    materials: Materials
    pixels: NDArray[np.int64]
    boundaries: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """The file's stem where that is enough to tell the models apart, else its path."""
        last = tuple(name for name, _ in self.others)
        stems = (*(path.stem for path in self.models), *last)
        return stems if len(set(stems)) == len(stems) else (*map(str, self.models), *last)

    @property
    def kinds(self) -> tuple[str, ...]:
        return (*("model" for _ in self.models), *(kind for _, kind in self.others))


@dataclass(frozen=True)
class ScoresProduct(FolderProduct):
    """A folder of scores as the product of a plan."""

    verb = "evaluate"
    holds = "scores"

    def files(self) -> tuple[str, ...]:
        return (_SCORES, _FIGURE, _PER_IMAGE, _CONFUSION)

    def open(self) -> Scores:
        """Raises InputError where there are no scores, or they are unfinished or damaged."""
        record = self.whole_record()
        try:
            with open(self.path / _SCORES, newline="", encoding="utf-8") as file:
                table = tuple(_row(cells) for cells in csv.DictReader(file))
            return Scores(self.path, table, dict(record["macro_f1"]), Path(record["best"]))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the scores in {self.path} are damaged: {error!r}; evaluate again"
            ) from error


def open_scores(path: str | Path) -> Scores:
    """The scores in a folder; raises InputError where there are none, or they are unfinished."""
    return ScoresProduct(Path(path)).open()


def write_scores(product: ScoresProduct, counts: Counts, recipe: Recipe) -> None:
    """Write all tables, then the record that marks them as finished."""
    path = product.path
    each = _values(counts.pixels, counts.boundaries)
    pooled = _values(counts.pixels.sum(1), counts.boundaries.sum(1))
    rows = _score_rows(counts, pooled, each)
    _write_csv(path / _SCORES, [field.name for field in fields(ScoreRow)], map(astuple, rows))
    _write_csv(
        path / _PER_IMAGE,
        ["model", "image", "material", "pixels", "predicted_pixels", *each],
        _image_rows(counts, each),
    )
    _write_csv(
        path / _CONFUSION, ["model", "annotated", "predicted", "pixels"], _confusion_rows(counts)
    )
    draw_scores(path / _FIGURE, counts.materials, pooled, each, counts.others)
    macro = [float(value) for value in np.nan_to_num(mean_without_nan(pooled["f1"], axis=-1))]
    record = {
        "macro_f1": dict(zip(counts.names, macro, strict=True)),
        "best": str(counts.models[int(np.argmax(macro[: len(counts.models)]))].absolute()),
        "scores": [{k: _json(v) for k, v in asdict(row).items()} for row in rows],
    }
    product.finish(record, recipe)


def _values(pixels: NDArray[np.int64], boundaries: NDArray[np.int64]) -> Metrics:
    scores = MaterialScores.of(pixels)
    values = {metric: getattr(scores, metric) for metric in METRICS}
    return {**values, "boundary_f1": boundary_f1(boundaries)}


def _score_rows(counts: Counts, pooled: Metrics, each: Metrics) -> list[ScoreRow]:
    annotated = counts.pixels.sum((1, 3))
    means = {name: mean_without_nan(values, axis=1) for name, values in each.items()}
    return [
        ScoreRow(
            name,
            kind,
            material,
            int(annotated[m, k]),
            *(float(values[m, k]) for values in pooled.values()),
            *(float(values[m, k]) for values in means.values()),
        )
        for m, (name, kind) in enumerate(zip(counts.names, counts.kinds, strict=True))
        for k, material in enumerate(counts.materials.names)
    ]


def _image_rows(counts: Counts, each: Metrics) -> Iterable[Sequence[Any]]:
    for m, name in enumerate(counts.names):
        for i, image in enumerate(counts.images):
            for k, material in enumerate(counts.materials.names):
                pixels = counts.pixels[m, i]
                values = (float(metric[m, i, k]) for metric in each.values())
                yield (name, image, material, pixels[k].sum(), pixels[:, k].sum(), *values)


def _confusion_rows(counts: Counts) -> Iterable[Sequence[Any]]:
    names = counts.materials.names
    for m, pooled in enumerate(counts.pixels.sum(1)):
        predicted = (*names, _NONE) if pooled[:, -1].any() else names
        for a, annotated in enumerate(names):
            for p, material in enumerate(predicted):
                yield (counts.names[m], annotated, material, pooled[a, p])


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with staged(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return "" if _json(value) is None else value


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _row(cells: dict[str, str]) -> ScoreRow:
    kinds = {field.name: field.type for field in fields(ScoreRow)}
    values: dict[str, Any] = {
        name: cells[name] if kind is str else kind(cells[name] or "nan")
        for name, kind in kinds.items()
        if isinstance(kind, type)
    }
    return ScoreRow(**values)
