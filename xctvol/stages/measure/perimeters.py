"""Loops over the slices of a block: the perimeter of each material."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xctvol.stages.measure.marks import marked, positions, row_of_marks

__all__ = ["LINES", "REACH", "count_lines", "perimeter"]

Values = NDArray[np.uint8]

LINES = 3
"""Kinds of border pixels, by the length that scikit-image gives them."""

REACH = 2
"""What a border pixel counts for depends on pixels this far away."""

_LENGTHS = np.array([1.0, math.sqrt(2), (1 + math.sqrt(2)) / 2])


_DIAGONAL = 8  # above four direct neighbours, in the bits of a neighbourhood
_OTHER = LINES  # border pixels of no length


def _kinds() -> NDArray[np.uint8]:
    """Kind of a border pixel, by the number of its direct and _DIAGONAL times diagonal neighbours.

    Neighbours are border pixels themselves.
    """
    by_neighbours = {(2, 0): 0, (3, 0): 0, (2, 1): 0, (3, 1): 0, (2, 2): 0, (3, 2): 0}
    by_neighbours |= {(0, 2): 1, (1, 3): 1, (1, 1): 2, (1, 2): 2}
    kinds = np.full(_DIAGONAL * 5, _OTHER, np.uint8)
    for (direct, diagonal), kind in by_neighbours.items():
        kinds[direct + _DIAGONAL * diagonal] = kind
    return kinds


_KINDS = _kinds()


def perimeter(lines: NDArray[np.int64]) -> NDArray[np.float64]:
    """Perimeter in pixels from counts of border pixels (..., LINES).

    Equal to scikit-image's `perimeter` with neighbourhood 4, summed over 8-connected regions
    (Benkrid and Crookes, FPGA perimeter estimator): a region's border pixels, and the border
    pixels next to them, are those of its material, so one count serves for all regions.
    """
    straight, slanted, mixed = (lines[..., kind] * _LENGTHS[kind] for kind in range(LINES))
    return straight + slanted + mixed


@njit(cache=True, nogil=True)
def count_lines(values: Values, rows: int, columns: int) -> NDArray[np.int64]:
    """Border pixels per slice, value and kind, (slices, 256, LINES).

    Counts pixels REACH ... REACH + rows (and columns) of `values`, which has REACH pixels more on
    all sides; they are zero outside the volume.
    """
    slices, height, width = values.shape
    counts = np.zeros((slices, 256, LINES + 1), np.int64)
    border = np.zeros((height, width), np.uint8)
    neighbours = np.zeros(width, np.uint8)
    marks, found = row_of_marks(width), positions(width)
    for i in range(slices):
        image, count = values[i], counts[i]
        for y in range(1, height - 1):
            _mark_border(image[y - 1], image[y], image[y + 1], border[y])
        for y in range(REACH, REACH + rows):
            here = border[y]
            _count_neighbours(border[y - 1], here, border[y + 1], neighbours)
            counted = here[REACH : REACH + columns]
            for x in range(counted.size):
                marks[x] = counted[x] != 0
            for at in range(marked(marks, found)):
                x = found[at] + np.uint64(REACH)
                count[here[x], _KINDS[neighbours[x]]] += 1
    return counts[:, :, :LINES].copy()


@njit(cache=True, nogil=True, inline="always")
def _mark_border(above: Values, row: Values, below: Values, border: Values) -> None:
    """The value of each pixel that has a direct neighbour of another value, else zero."""
    for x in range(1, row.size - 1):
        value = row[x]
        differs = (above[x] ^ value) | (below[x] ^ value) | (row[x - 1] ^ value)
        border[x] = value if differs | (row[x + 1] ^ value) else 0


@njit(cache=True, nogil=True)
def _count_neighbours(above: Values, here: Values, below: Values, neighbours: Values) -> None:
    """How many border pixels of its own value are around each pixel; an index of _KINDS."""
    for x in range(1, here.size - 1):
        value = here[x]
        neighbours[x] = (
            np.uint8(above[x] == value)
            + np.uint8(below[x] == value)
            + np.uint8(here[x - 1] == value)
            + np.uint8(here[x + 1] == value)
            + _DIAGONAL * np.uint8(above[x - 1] == value)
            + _DIAGONAL * np.uint8(above[x + 1] == value)
            + _DIAGONAL * np.uint8(below[x - 1] == value)
            + _DIAGONAL * np.uint8(below[x + 1] == value)
        )
