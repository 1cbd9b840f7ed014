"""The log of a training, beside its model: a table of its epochs, and the table as a picture.

Times are left out, so that equal trainings leave equal files.
"""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xctvol.errors import InputError
from xctvol.files import staged

__all__ = ["Epoch", "draw_log", "read_log", "write_log"]

_STYLE: dict[Any, Any] = {  # matplotlib types the keys as one long Literal
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Epoch:
    """One row: mean losses, macro-F1 on the validation images, and the learning rate."""

    epoch: int
    training_loss: float
    validation_loss: float
    macro_f1: float
    learning_rate: float


def write_log(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write the table as CSV; a reader sees all of it or the one before."""
    with staged(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Epoch)])
        writer.writerows(map(astuple, epochs))


def read_log(path: Path) -> tuple[Epoch, ...]:
    """What `write_log` wrote; raises InputError for anything else."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return tuple(
            Epoch(int(row.pop("epoch")), **{name: float(cell) for name, cell in row.items()})
            for row in rows
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the log {path} is missing or damaged: {error!r}") from error


def draw_log(path: Path, epochs: Sequence[Epoch], best: int) -> None:
    """Write a PNG: both losses above, macro-F1 below, and a line at the epoch that was kept."""
    numbers = [epoch.epoch for epoch in epochs]
    curves = (
        ("loss", {"training": "training_loss", "validation": "validation_loss"}),
        ("macro-F1 on validation", {"": "macro_f1"}),
    )
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6, 5), layout="constrained")
        for axes, (title, lines) in zip(figure.subplots(2, 1, sharex=True), curves, strict=True):
            for name, field in lines.items():
                values = [getattr(epoch, field) for epoch in epochs]
                axes.plot(numbers, values, marker=".", label=name)
            axes.axvline(best, color="0.6", linestyle=":")
            axes.set_ylabel(title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.axes[0].legend(frameon=False)
        figure.axes[1].set(xlabel=f"epoch (kept: {best})", ylim=(0, 1))
        with staged(path) as partial:
            figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})
