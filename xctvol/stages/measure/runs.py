"""Loops over the runs of equal voxels along x, which add up what components are made of.

Arrays of a block carry one voxel of low halo and one of zeros on the high side: core voxel
(z, y, x) is at [z + 1, y + 1, x + 1]. Row n of a table is label n; row 0 is not used.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xctvol.stages.measure.columns import (
    BOX_HIGH,
    BOX_LOW,
    CROSS_MOMENTS,
    FIRST,
    GREY_MAX,
    GREY_MIN,
    GREY_SQUARES,
    GREY_SUM,
    MOMENTS,
    SQUARES,
    VALUE,
    VOXELS,
    Rows,
)
from xctvol.stages.measure.marks import Positions, marked, positions, row_of_marks

__all__ = ["add_greys", "add_voxels"]

Ints = NDArray[np.int64]
Labels = NDArray[np.uint32]
Values = NDArray[np.uint8]

_LOW, _HIGH = BOX_LOW.start, BOX_HIGH.start
_FIRST_MOMENT, _FIRST_SQUARE = MOMENTS.start, SQUARES.start
_FIRST_CROSS = CROSS_MOMENTS.start

# columns of a label's line: its voxels in one row, sums of x and x^2, where it begins and ends
_N, _SUM, _SQUARES, _X, _END = range(5)
_LINE_WIDTH = 5


@njit(cache=True, nogil=True)
def add_voxels(
    values: Values, labels: Labels, origin: Ints, shape: Ints, rows: Rows, voxels: Ints
) -> None:
    """Add the core voxels to the rows of their labels, and to `voxels` (slices, 256) by value.

    `origin` is the core's first voxel in the volume of `shape`, both (3,).
    """
    depth, height, width = values.shape
    left = origin[2] - 1
    marks, found = row_of_marks(width), positions(width)
    squares = _sums_of_squares(left, width)
    lines, touched = np.zeros((len(rows), _LINE_WIDTH), np.int64), np.empty(width, np.int64)
    for i in range(1, depth - 1):
        z = origin[0] + i - 1
        for j in range(1, height - 1):
            y = origin[1] + j - 1
            before_first = (z * shape[1] + y) * shape[2]
            runs = found[: _find_runs(values[i, j], marks, found)]
            for label in touched[: _add_runs(runs, labels[i, j], left, squares, lines, touched)]:
                line, sums = lines[label], rows[label]
                if label:
                    if sums[VOXELS] == 0:  # lines come by slices and rows
                        _begin(sums, z, before_first + line[_X], values[i, j, line[_X] - left])
                    _add_line(sums, z, y, line)
                    voxels[i - 1, sums[VALUE]] += line[_N]
                line[:_X] = 0


@njit(cache=True, nogil=True)
def add_greys(values: Values, labels: Labels, greys: NDArray[np.integer], rows: Rows) -> None:
    """Add the grey values of the core voxels, `greys`, to the rows of their labels.

    `greys` (integers of at most 16 bits) are without halo.
    """
    depth, height, width = values.shape
    marks, found = row_of_marks(width), positions(width)
    for i in range(1, depth - 1):
        for j in range(1, height - 1):
            row, grey = values[i, j], greys[i - 1, j - 1]
            count = _find_runs(row, marks, found)
            for run in range(count - 1):
                start = found[run]
                if row[start]:
                    end = found[run + 1]
                    _add_grey_run(rows[labels[i, j, start]], grey[start - 1 : end - 1])


@njit(cache=True, nogil=True)
def _find_runs(row: Values, marks: NDArray[np.uint8], found: NDArray[np.uint64]) -> int:
    """Where runs begin in the core of `row`, and last the end of the core."""
    for x in range(1, row.size):
        marks[x] = row[x] != row[x - 1]
    marks[1] = marks[row.size - 1] = 1
    return marked(marks, found)


@njit(cache=True, nogil=True)
def _sums_of_squares(left: int, width: int) -> Ints:
    """Sum of the squares of all numbers below `left`, below `left + 1` and so on, (width,)."""
    below = np.arange(left, left + width)
    return (below - 1) * below * (2 * below - 1) // 6


@njit(cache=True, nogil=True)
def _add_runs(
    runs: Positions, labels: Labels, left: int, squares: Ints, lines: Ints, touched: Ints
) -> int:
    """Add the runs of a row to the lines of their labels; write to `touched` which there are.

    Many runs share few labels: added up here, they go to the rows of their labels but once. Returns
    the number of labels.
    """
    count = 0
    for run in range(runs.size - 1):
        start, end = runs[run], runs[run + 1]
        label = labels[start]
        x, n = left + np.int64(start), np.int64(end - start)
        if lines[label, _N] == 0:
            touched[count] = label
            count += 1
            lines[label, _X] = x
        lines[label, _N] += n
        lines[label, _SUM] += n * (2 * x + n - 1) >> 1
        lines[label, _SQUARES] += squares[end] - squares[start]
        lines[label, _END] = x + n
    return count


@njit(cache=True, nogil=True, inline="always")
def _begin(row: Ints, z: int, raster: int, value: int) -> None:
    row[_LOW] = z
    row[FIRST] = raster
    row[VALUE] = value


@njit(cache=True, nogil=True, inline="always")
def _add_line(sums: Ints, z: int, y: int, line: Ints) -> None:
    n, sum_x = line[_N], line[_SUM]
    sums[VOXELS] += n
    sums[_FIRST_MOMENT] += n * z
    sums[_FIRST_MOMENT + 1] += n * y
    sums[_FIRST_MOMENT + 2] += sum_x
    sums[_FIRST_SQUARE] += n * z * z
    sums[_FIRST_SQUARE + 1] += n * y * y
    sums[_FIRST_SQUARE + 2] += line[_SQUARES]
    sums[_FIRST_CROSS] += n * z * y
    sums[_FIRST_CROSS + 1] += z * sum_x
    sums[_FIRST_CROSS + 2] += y * sum_x
    sums[_LOW + 1] = min(sums[_LOW + 1], y)
    sums[_LOW + 2] = min(sums[_LOW + 2], line[_X])
    sums[_HIGH] = z + 1
    sums[_HIGH + 1] = max(sums[_HIGH + 1], y + 1)
    sums[_HIGH + 2] = max(sums[_HIGH + 2], line[_END])


@njit(cache=True, nogil=True, inline="always")
def _add_grey_run(row: Ints, greys: NDArray[np.integer]) -> None:
    total = squares = 0
    low = high = int(greys[0])
    for x in range(greys.size):
        grey = int(greys[x])
        total += grey
        squares += grey * grey
        low, high = min(low, grey), max(high, grey)
    row[GREY_SUM] += total
    row[GREY_SQUARES] += squares
    row[GREY_MIN] = min(row[GREY_MIN], low)
    row[GREY_MAX] = max(row[GREY_MAX], high)
