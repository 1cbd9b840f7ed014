"""One picture of an evaluation: each metric a panel, each material a column of points."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from xctvol.files import staged
from xctvol.materials import Materials

__all__ = ["draw_scores"]

_STYLE: dict[Any, Any] = {  # matplotlib types the keys as one long Literal
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_TITLES = {"f1": "F1", "iou": "IoU", "boundary_f1": "boundary F1 (2 px)"}
_COLUMNS = 3
_MARKERS = {"model": "o", "ensemble": "s", "baseline": "D"}
_SPREAD = 0.3  # of a column's points to either side


def draw_scores(
    path: Path,
    materials: Materials,
    pooled: Mapping[str, NDArray[np.float64]],
    each: Mapping[str, NDArray[np.float64]],
    others: Sequence[tuple[str, str]],
) -> None:
    """Write a PNG: large points are models over all pixels, small ones each model's images.

    `pooled` holds (models, materials) by metric, `each` (models, images, materials). The last
    of the models are `others`, names and kinds: squares for an ensemble, diamonds for a baseline.
    """
    plain = len(next(iter(pooled.values()))) - len(others)
    markers = [_MARKERS[kind] for kind in (*["model"] * plain, *(kind for _, kind in others))]
    with mpl.rc_context(_STYLE):
        rows = -(-len(pooled) // _COLUMNS)
        size = (_COLUMNS * max(2.4, 0.5 * len(materials) + 1), 2.4 * rows + 1)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axes, metric in zip(panels.flat, pooled, strict=False):
            for column, material in enumerate(materials):
                models, images = pooled[metric][:, column], each[metric][..., column]
                _draw_column(axes, column, material.color, models, images, markers)
            axes.set(title=_TITLES.get(metric, metric), ylim=(-0.02, 1.02))
            axes.set_xticks(range(len(materials)), materials.names, rotation=60, ha="right")
        explained = [
            Line2D([], [], color="0.6", marker=_MARKERS[kind], linestyle="", label=name)
            for name, kind in others
        ]
        if explained:
            figure.legend(handles=explained, loc="outside lower right", frameon=False)
        with staged(path) as partial:
            figure.savefig(partial, format="png", dpi=150)


def _draw_column(
    axes: Axes,
    column: int,
    color: str,
    models: NDArray[np.float64],
    images: NDArray[np.float64],
    markers: Sequence[str],
) -> None:
    """Points of one material: `models` (models,), and their `images` (models, images) in grey."""
    places, around = _around(column, models), _around(column, images).reshape(images.shape)
    for index, marker in enumerate(markers):
        axes.scatter(around[index], images[index], 5, "0.6", marker=marker, linewidths=0)
        axes.scatter(
            places[index], models[index], 40, color, marker=marker, edgecolors="black", zorder=2
        )


def _around(column: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places side by side about a column, a single point in its middle."""
    if points.size == 1:
        return np.array([float(column)])
    return column + np.linspace(-_SPREAD, _SPREAD, points.size)
