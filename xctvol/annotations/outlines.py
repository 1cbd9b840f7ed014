"""Outlines turned into pixels by ImageJ's rule.

Pixel (row, column) covers the square from (column, row) to (column + 1, row + 1), and is inside
when its centre is. Outlines that cross themselves or each other enclose what lies between an odd
and the next even crossing of a row, so that a ring within a ring is a hole. A centre exactly on
an outline is inside on right and upper edges, and outside on left and lower ones: shapes that
share an edge neither overlap nor leave a gap. (ImageJ: `ij.process.PolygonFiller` for outlines,
`ij.gui.OvalRoi.getMask` for ovals.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xctvol.annotations.base import Indices, Size

__all__ = ["Box", "Patch", "Points", "fill", "oval", "rectangle"]

Points = NDArray[np.float64]
"""(n, 2): x and y of the corners of a ring; the last one is joined to the first."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom; right and bottom are excluded."""

_ON_THE_EDGE = 1e-8  # of a pixel; ImageJ's own, so that rounding errors do not decide
_CROSSINGS = 1 << 20  # of rows by edges, held at once


@dataclass(frozen=True)
class Patch:
    """Pixels that belong together: `inside` (y, x) bool, from `corner` (y, x) of the slice on."""

    corner: tuple[int, int]
    inside: NDArray[np.bool_]

    def paint(self, indices: Indices, value: int) -> None:
        """Give all pixels inside the value, in place."""
        window = tuple(
            slice(start, start + size)
            for start, size in zip(self.corner, self.inside.shape, strict=True)
        )
        indices[window][self.inside] = value


def fill(rings: Sequence[Points], size: Size) -> Patch:
    """The pixels that `rings` enclose together, of a slice of `size`.

    The corners must be finite; what lies outside the slice is cut off, in memory too.
    """
    points = np.concatenate(rings)
    low, high = np.floor(points.min(0)), np.ceil(points.max(0))
    left, top, right, bottom = _within((*low, *high), size)
    inside = np.zeros((bottom - top, right - left + 1), bool)  # a column for all beyond the right
    for rows, x in _crossings(rings, top, bottom):
        columns = np.floor(np.clip(x + 0.5 + _ON_THE_EDGE, left, right)).astype(np.intp)
        np.logical_xor.at(inside, (rows - top, columns - left), True)
    np.logical_xor.accumulate(inside, axis=1, out=inside)
    return Patch((top, left), inside[:, :-1])


def oval(box: Box, size: Size) -> Patch:
    """The pixels whose centres lie in the ellipse that touches the sides of `box`, or on it."""
    left, top, right, bottom = _within(box, size)
    x = (np.arange(left, right) + 0.5 - (box[0] + box[2]) / 2) / ((box[2] - box[0]) / 2)
    y = (np.arange(top, bottom) + 0.5 - (box[1] + box[3]) / 2) / ((box[3] - box[1]) / 2)
    return Patch((top, left), np.square(y)[:, None] + np.square(x) <= 1)


def rectangle(box: Box, size: Size) -> Patch:
    """The pixels in `box`."""
    left, top, right, bottom = _within(box, size)
    return Patch((top, left), np.ones((bottom - top, right - left), bool))


def _within(box: Sequence[float], size: Size) -> Box:
    """The part of a box of whole numbers that lies in a slice."""
    left, right = (int(min(max(x, 0), size[1])) for x in box[::2])
    top, bottom = (int(min(max(y, 0), size[0])) for y in box[1::2])
    return left, top, right, bottom


def _crossings(
    rings: Sequence[Points], top: int, bottom: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Rows from top to bottom, and x where edges cross the centres of their pixels."""
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    down = (start[:, 1] <= end[:, 1])[:, None]
    upper, lower = np.where(down, start, end), np.where(down, end, start)
    first, stop = (np.clip(np.ceil(p[:, 1] - 0.5), top, bottom) for p in (upper, lower))
    counts = (stop - first).astype(np.intp)
    parts = np.cumsum(counts) // _CROSSINGS
    for part in np.unique(parts):
        edges = np.flatnonzero((parts == part) & (counts > 0))
        edge = np.repeat(edges, counts[edges])
        before = np.repeat(np.cumsum(counts[edges]) - counts[edges], counts[edges])
        rows = first[edge].astype(np.intp) + np.arange(len(edge)) - before
        (x, y), (dx, dy) = upper[edge].T, (lower - upper)[edge].T
        yield rows, x + (rows + 0.5 - y) * dx / dy
