"""The product of a study: a folder, finished once study.json is there.

study.csv          one row a trial, material and metric; material `all` has the macro-F1
by_scans.png       scores against annotated scans, at the largest number of epochs
by_epochs.png      scores against epochs, at the largest number of scans
best.safetensors   the model with the largest macro-F1
study.json         which trial that was, and the recipe; written last

Where all pairs are of one scan the study annotates slices: then the column and the file are called
so. An empty cell is a score that does not exist.
"""

import csv
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from xctvol.errors import InputError
from xctvol.files import staged
from xctvol.journal import Recipe
from xctvol.plan import FolderProduct
from xctvol.studies.intervals import Mean

__all__ = [
    "ALL",
    "MACRO_F1",
    "Study",
    "StudyProduct",
    "Trial",
    "Unit",
    "Value",
    "open_study",
    "write_study",
]

Unit = Literal["scans", "slices"]
ALL, MACRO_F1 = "all", "macro_f1"

_TABLE, _BEST = "study.csv", "best.safetensors"


@dataclass(frozen=True)
class Trial:
    """One training: on how many scans (or slices), for how many epochs, and which replicate."""

    annotated: int
    epochs: int
    replicate: int


@dataclass(frozen=True)
class Value:
    """What a trial scored for a material; NaN where the score does not exist."""

    trial: Trial
    material: str
    metric: str
    value: float


@dataclass(frozen=True)
class Study:
    """A finished study; `best` is the trial whose model lies at `model`."""

    path: Path
    unit: Unit
    values: tuple[Value, ...]
    best: Trial
    model: Path

    def macro_f1(self) -> dict[tuple[int, int], Mean]:
        """Mean over replicates by annotated scans and epochs, in order."""
        found: dict[tuple[int, int], list[float]] = {}
        for v in self.values:
            if v.metric == MACRO_F1:
                found.setdefault((v.trial.annotated, v.trial.epochs), []).append(v.value)
        return {numbers: Mean.of(found[numbers]) for numbers in sorted(found)}


@dataclass(frozen=True)
class StudyProduct(FolderProduct):
    """A folder as the product of a plan."""

    verb = "study"
    holds = "study"

    def figure(self, axis: str) -> Path:
        return self.path / f"by_{axis}.png"

    def files(self) -> tuple[str, ...]:
        figures = (self.figure(axis).name for axis in ("scans", "slices", "epochs"))
        return (_TABLE, _BEST, *figures)

    def open(self) -> Study:
        """Raises InputError where there is no study, or it is unfinished or damaged."""
        record, path = self.whole_record(), self.path
        try:
            unit: Unit = record["unit"]
            with open(path / _TABLE, newline="", encoding="utf-8") as file:
                values = tuple(_value(row, unit) for row in csv.DictReader(file))
            return Study(path, unit, values, Trial(**record["best"]), path / _BEST)
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise InputError(f"the study in {path} is damaged: {error!r}; run it again") from error


def open_study(path: str | Path) -> Study:
    """The study in a folder; raises InputError where there is none, or it is unfinished."""
    return StudyProduct(Path(path)).open()


def write_study(
    product: StudyProduct,
    unit: Unit,
    values: Sequence[Value],
    best: tuple[Trial, Path],
    recipe: Recipe,
) -> None:
    """Write the table and a copy of the best model, then the record that marks both as finished."""
    trial, model = best
    with staged(product.path / _TABLE) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([unit, "epochs", "replicate", "material", "metric", "value"])
        for v in values:
            t, cell = v.trial, "" if math.isnan(v.value) else v.value
            writer.writerow([t.annotated, t.epochs, t.replicate, v.material, v.metric, cell])
    with staged(product.path / _BEST) as partial:
        shutil.copyfile(model, partial)
    product.finish({"unit": unit, "best": asdict(trial)}, recipe)


def _value(row: dict[str, str], unit: Unit) -> Value:
    trial = Trial(int(row[unit]), int(row["epochs"]), int(row["replicate"]))
    return Value(trial, row["material"], row["metric"], float(row["value"] or "nan"))
