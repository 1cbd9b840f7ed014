"""Loops over the voxels of a block that add up what regions and materials are made of.

All sums are exact 64-bit integers on the coordinates of the whole volume, so the sums of a region
are those of its parts. Arrays of labels carry one voxel of low halo and one of zeros on the high
side: core voxel (z, y, x) is at [z + 1, y + 1, x + 1].
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "CELLS",
    "COLUMNS",
    "CROSS_MOMENTS",
    "MOMENTS",
    "SQUARES",
    "VOXELS",
    "VoxelSums",
    "add_cells",
    "add_voxels",
]

VOXELS = 0
MOMENTS = slice(1, 4)
SQUARES = slice(4, 7)
CROSS_MOMENTS = slice(7, 10)
CELLS = slice(10, 19)
COLUMNS = 19
"""Columns of a table of sums: count; sums of z, y, x; of zz, yy, xx; of zy, zx, yx; of cells."""

Ints = NDArray[np.int64]
Labels = NDArray[np.uint32]

_FIRST_CELL = CELLS.start
_CELL_COLUMNS = CELLS.stop - CELLS.start


class VoxelSums(NamedTuple):
    """Rows 1..n describe the labels 1..n of a block; row 0 (background) is not used.

    `sums` is (n + 1, COLUMNS); `boxes` (n + 1, 6) holds z0, y0, x0, z1, y1, x1, half open;
    `first` is the raster index, in the whole volume, of a label's first voxel, or -1.
    """

    sums: NDArray[np.int64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]

    @classmethod
    def empty(cls, count: int) -> "VoxelSums":
        boxes = np.zeros((count + 1, 6), np.int64)
        boxes[:, :3] = np.iinfo(np.int64).max
        return cls(np.zeros((count + 1, COLUMNS), np.int64), boxes, np.full(count + 1, -1))


@njit(cache=True, nogil=True)
def add_voxels(
    labels: Labels,
    origin: Ints,
    shape: Ints,
    sums: Ints,
    boxes: Ints,
    first: Ints,
) -> None:
    """Add the core voxels of `labels` (uint32) to the tables, run by run along x.

    `origin` is the core's first voxel in the volume of `shape`, both int64 (3,).
    """
    for i in range(1, labels.shape[0] - 1):
        z = origin[0] + i - 1
        for j in range(1, labels.shape[1] - 1):
            y = origin[1] + j - 1
            line = labels[i, j]
            stop = line.size - 1
            k = 1
            while k < stop:
                label = line[k]
                start = k
                while k < stop and line[k] == label:
                    k += 1
                if label:
                    x = origin[2] + start - 1
                    if first[label] < 0:
                        first[label] = (z * shape[1] + y) * shape[2] + x
                    _add_run(sums[label], boxes[label], z, y, x, k - start)


@njit(cache=True, nogil=True, inline="always")
def _add_run(sums: Ints, box: Ints, z: int, y: int, x: int, n: int) -> None:
    end = x + n
    sum_x = n * (x + end - 1) // 2
    sums[0] += n
    sums[1] += n * z
    sums[2] += n * y
    sums[3] += sum_x
    sums[4] += n * z * z
    sums[5] += n * y * y
    sums[6] += ((end - 1) * end * (2 * end - 1) - (x - 1) * x * (2 * x - 1)) // 6
    sums[7] += n * z * y
    sums[8] += z * sum_x
    sums[9] += y * sum_x
    box[0] = min(box[0], z)
    box[1] = min(box[1], y)
    box[2] = min(box[2], x)
    box[3] = max(box[3], z + 1)
    box[4] = max(box[4], y + 1)
    box[5] = max(box[5], end)


@njit(cache=True, nogil=True)
def add_cells(labels: Labels, ends: Ints, table: Ints, sums: Ints) -> None:
    """Add each cell of `labels` (uint32) to every label in it.

    A block owns the cells whose high corner is one of its core voxels; where `ends` is 1 the
    block is the volume's last along that axis and takes the cells beyond as well.
    """
    cell = np.empty(8, labels.dtype)
    for z in range(1, labels.shape[0] - 1 + ends[0]):
        for y in range(1, labels.shape[1] - 1 + ends[1]):
            a, b = labels[z - 1, y - 1], labels[z - 1, y]
            c, d = labels[z, y - 1], labels[z, y]
            last = a[0]
            last_even = (last == b[0]) & (last == c[0]) & (last == d[0])
            for x in range(1, labels.shape[2] - 1 + ends[2]):
                label = a[x]
                even = (label == b[x]) & (label == c[x]) & (label == d[x])
                if not (even & last_even & (label == last)):
                    cell[0], cell[1], cell[2], cell[3] = a[x - 1], label, b[x - 1], b[x]
                    cell[4], cell[5], cell[6], cell[7] = c[x - 1], c[x], d[x - 1], d[x]
                    _add_cell(cell, table, sums)
                last, last_even = label, even


@njit(cache=True, nogil=True, inline="always")
def _add_cell(cell: Labels, table: Ints, sums: Ints) -> None:
    left = 0
    for i in range(8):
        left |= (cell[i] != 0) << i
    i = 0
    while left:
        while not left >> i & 1:
            i += 1
        label = cell[i]
        mask = 0
        for k in range(8):  # all eight: a loop of fixed length becomes vector code
            mask |= (cell[k] == label) << k
        left &= ~mask
        for column in range(_CELL_COLUMNS):
            sums[label, _FIRST_CELL + column] += table[mask, column]
