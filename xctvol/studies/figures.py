"""Curves of a study: replicates as points, their mean and its 95 % interval."""

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from xctvol.files import staged
from xctvol.materials import Material, Materials
from xctvol.model.scores import METRICS
from xctvol.studies.intervals import Mean
from xctvol.studies.product import StudyProduct, Trial, Unit, Value

__all__ = ["draw_curves"]

_STYLE: dict[Any, Any] = {  # matplotlib types the keys as one long Literal
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
}


_TITLE = 18  # characters, as wide as a panel


def draw_curves(
    product: StudyProduct, unit: Unit, values: Sequence[Value], materials: Materials
) -> None:
    """Two PNGs: against scans at the most epochs, and against epochs at the most scans.

    Rows are metrics over all held-out pixels, columns are materials, as in Figures 2 and 4 of the
    paper.
    """
    most = max(v.trial.annotated for v in values), max(v.trial.epochs for v in values)
    by_scans = [v for v in values if v.trial.epochs == most[1]]
    by_epochs = [v for v in values if v.trial.annotated == most[0]]
    _draw(product, unit, f"annotated {unit} ({most[1]} epochs)", by_scans, materials)
    _draw(product, "epochs", f"epochs ({most[0]} annotated {unit})", by_epochs, materials)


def _draw(
    product: StudyProduct, axis: str, label: str, values: Sequence[Value], materials: Materials
) -> None:
    place = _epochs if axis == "epochs" else _annotated
    with mpl.rc_context(_STYLE):
        size = (max(4.0, 1.9 * len(materials)), 1.6 * len(METRICS) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(METRICS), len(materials), sharex=True, sharey=True, squeeze=False
        )
        for row, metric in zip(panels, METRICS, strict=True):
            row[0].set_ylabel(metric)
            for axes, material in zip(row, materials, strict=True):
                mine = [v for v in values if (v.material, v.metric) == (material.name, metric)]
                _curve(axes, material, mine, place)
        for axes, material in zip(panels[0], materials, strict=True):
            axes.set_title(fill(material.name, _TITLE))
        figure.supxlabel(label)
        with staged(product.figure(axis)) as partial:
            figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})


def _curve(
    axes: Axes, material: Material, values: Sequence[Value], place: Callable[[Trial], int]
) -> None:
    places = sorted({place(v.trial) for v in values})
    means = [Mean.of([v.value for v in values if place(v.trial) == x]) for x in places]
    across, up = [place(v.trial) for v in values], [v.value for v in values]
    axes.scatter(across, up, 6, color="0.6", linewidths=0)
    line = [mean.value for mean in means]
    axes.plot(places, line, color="0.2", linewidth=2.4)  # around one that may be white
    axes.errorbar(
        places,
        line,
        [mean.margin for mean in means],
        color=material.color,
        marker="o",
        markersize=4,
        markeredgecolor="black",
        ecolor="black",
        capsize=3,
    )
    axes.set(ylim=(-0.02, 1.02))
    if places[-1] > 8 * places[0]:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _annotated(trial: Trial) -> int:
    return trial.annotated


def _epochs(trial: Trial) -> int:
    return trial.epochs
