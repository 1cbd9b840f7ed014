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


def _kinds() -> NDArray[np.int8]:
    """Kind of a border pixel, or -1, by its border neighbours: bits of 4 direct, 4 diagonal."""
    by_code = {5: 0, 7: 0, 15: 0, 17: 0, 25: 0, 27: 0, 21: 1, 33: 1, 13: 2, 23: 2}
    codes = [1 + 2 * (m & 15).bit_count() + 10 * (m >> 4).bit_count() for m in range(256)]
    return np.array([by_code.get(code, -1) for code in codes], np.int8)


_KINDS = _kinds()


def perimeter(lines: NDArray[np.int64]) -> NDArray[np.float64]:
    """Perimeter in pixels from counts of border pixels (..., LINES).

    Equal to scikit-image's `perimeter` with neighborhood 4, summed over 8-connected regions
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
    counts = np.zeros((slices, 256, LINES), np.int64)
    border = np.zeros((height, width), np.uint8)
    marks, found = row_of_marks(width), positions(width)
    for i in range(slices):
        image = values[i]
        for y in range(1, height - 1):
            _mark_border(image[y - 1], image[y], image[y + 1], border[y])
        for y in range(REACH, REACH + rows):
            above, here, below = border[y - 1], border[y], border[y + 1]
            counted = here[REACH : REACH + columns]
            for x in range(counted.size):
                marks[x] = counted[x] != 0
            for at in range(marked(marks, found)):
                x = found[at] + np.uint64(REACH)
                kind = _KINDS[_neighbours(above, here, below, x)]
                if kind >= 0:
                    counts[i, here[x], kind] += 1
    return counts


@njit(cache=True, nogil=True, inline="always")
def _mark_border(above: Values, row: Values, below: Values, border: Values) -> None:
    """The value of each pixel that has a direct neighbour of another value, else zero."""
    for x in range(1, row.size - 1):
        value = row[x]
        differs = (above[x] ^ value) | (below[x] ^ value) | (row[x - 1] ^ value)
        border[x] = value if differs | (row[x + 1] ^ value) else 0


@njit(cache=True, nogil=True, inline="always")
def _neighbours(above: Values, here: Values, below: Values, x: int) -> int:
    """Which of a pixel's neighbours are border pixels of its value."""
    before, after = x - np.uint64(1), x + np.uint64(1)
    value = here[x]
    return int(
        np.intp(above[x] == value)
        | np.intp(below[x] == value) << 1
        | np.intp(here[before] == value) << 2
        | np.intp(here[after] == value) << 3
        | np.intp(above[before] == value) << 4
        | np.intp(above[after] == value) << 5
        | np.intp(below[before] == value) << 6
        | np.intp(below[after] == value) << 7
    )
