"""Plots as SVG that takes its ink, its paper and its font from the page around it."""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from xctvol.materials import Material

__all__ = ["plot_region_sizes", "plot_shares"]

# Stand-ins that matplotlib can write and the page replaces, so that plots follow its color scheme.
_INK, _MUTED = "#0a0b0c", "#0a0b0d"
_THEME = {_INK: "var(--ink)", _MUTED: "var(--muted)"}
_NAME = "name-of-material-"  # and its number: a name itself may look like markup, or have no glyphs
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE: dict[Any, Any] = {  # matplotlib types the keys as one long Literal
    "svg.fonttype": "none",  # text stays text: it can be searched, and uses the reader's font
    "svg.hashsalt": "xctvol",  # the same data gives the same bytes
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "axes.linewidth": 0.7,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MAX_POINTS = 400
_MAX_BINS = 40


def plot_shares(
    z_um: NDArray[np.float64], shares: NDArray[np.float64], materials: Sequence[Material]
) -> str:
    """Bands of each material's share of the slices: `shares` is (materials, slices) in 0..1."""
    z_um, shares = _mean_of_neighbours(z_um, shares)
    unit, scale = ("mm", 1e-3) if z_um[-1] >= 2000 else ("µm", 1.0)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 2.7), layout="constrained")
        axes = figure.add_subplot()
        colors = [material.color for material in materials]
        axes.stackplot(z_um * scale, shares * 100, colors=colors, edgecolor=_INK, linewidth=0.4)
        top = min(100.0, 105 * shares.sum(axis=0).max()) or 100.0
        axes.set(xlabel=f"z ({unit})", ylabel="share of slice (%)", ylim=(0, top))
        axes.margins(x=0)
        return _svg(figure, "Share of each material in every slice")


def plot_region_sizes(volumes_um3: Mapping[Material, NDArray[np.float64]]) -> str:
    """One histogram of region volumes for each material, all on one logarithmic axis."""
    everything = np.concatenate(list(volumes_um3.values()))
    low, high = everything.min(), everything.max()
    most = max(volumes.size for volumes in volumes_um3.values())
    count = min(_MAX_BINS, math.ceil(2 * most ** (1 / 3)))  # the rule of Rice University
    bins = np.geomspace(low / 1.1, high * 1.1, count + 1)
    columns = min(3, len(volumes_um3))
    rows = -(-len(volumes_um3) // columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 2.1 * rows + 0.3), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
        for number, (material, volumes) in enumerate(volumes_um3.items()):
            _histogram(grid[number], material.color, volumes, bins)
            grid[number].set_title(f"{_NAME}{number}")
        for axes in grid[len(volumes_um3) :]:
            axes.set_visible(False)
        figure.supxlabel("volume of a region (µm³)", color=_MUTED, fontsize=10)
        figure.supylabel("regions", color=_MUTED, fontsize=10)
        names = [material.name for material in volumes_um3]
        return _svg(figure, "How many regions of which volume each material has", names)


def _histogram(
    axes: Axes, color: str, volumes: NDArray[np.float64], bins: NDArray[np.float64]
) -> None:
    axes.hist(volumes, bins=list(bins), color=color, edgecolor=_INK, linewidth=0.4)
    axes.set_xscale("log")
    wide = bins[-1] > 100 * bins[0]
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axes.xaxis.set_major_formatter(_power_of_ten)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _power_of_ten(value: float, _: float) -> str:
    """Plain text, where matplotlib would set each character by itself."""
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = round(value / 10.0**exponent)
    power = "10" + f"{exponent:d}".translate(_RAISED)
    return power if factor == 1 else f"{factor}\N{MIDDLE DOT}{power}"


def _mean_of_neighbours(
    z_um: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most so many points as the plot has pixels to show; each is the mean of some slices."""
    width = -(-len(z_um) // _MAX_POINTS)
    starts = np.arange(0, len(z_um), width)
    counts = np.diff([*starts, len(z_um)])
    return (
        np.add.reduceat(z_um, starts) / counts,
        np.add.reduceat(shares, starts, axis=1) / counts,
    )


def _svg(figure: Figure, title: str, names: Sequence[str] = ()) -> str:
    """The figure as an <svg> element that stands inside a page and refers to nothing outside.

    `names` come last, in the places of their stand-ins: what is changed here is markup alone.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    _, _, body = stream.getvalue().partition("<svg")
    _, _, body = body.partition(">")
    body = re.sub(r"<(metadata|style).*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)  # two plots of a page may not share names
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)  # matplotlib 3.10
    body = re.sub(r"font-family: [^;\"]*;?", "", body)  # and 3.11
    body = body.replace("xlink:href", "href")
    for color, variable in _THEME.items():
        body = body.replace(color, variable)
    body = re.sub(rf"{_NAME}(\d+)", lambda found: _as_text(names[int(found[1])]), body)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    return f'<svg role="img" aria-label="{title}" viewBox="0 0 {width} {height}">{body}'


def _as_text(name: str) -> str:
    """A name as the text of an element, in one line."""
    return html.escape(
        _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", " ".join(name.split())), quote=False
    )
