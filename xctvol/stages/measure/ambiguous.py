"""Cells that hold several labels of one material, which may turn out to be one region.

With 26-connectivity a cell never holds two labels of one material, and cells simply add up. With
6 or 18 it can, and whether these labels are one region is known only after all blocks are joined.
What a cell adds is not additive then: a region with the voxels A and B adds f(A + B), two regions
add f(A) and f(B). Blocks add the latter and note, for each set S of labels that meet in cells,

    g(S) = sum over T within S of (-1)^(|S| - |T|) f(union of T)

(the Moebius inverse of f), to be added to a region once all of S has become part of it.
"""

from itertools import combinations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MEETING", "corrections"]

MEETING = 4
"""Most labels of one material in a cell: no two of its voxels share a face."""


def corrections(
    labels: NDArray[np.uint32],
    values: NDArray[np.uint8],
    is_open: NDArray[np.bool_],
    ends: NDArray[np.int64],
    table: NDArray[np.int64],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Sets of labels, (n, MEETING), ascending, filled with zeros in front; and their g, (n, 9).

    `values` are the voxels of `labels`, with the same halo. Only labels in `is_open` are looked
    at, as no others can be joined later.
    """
    meeting, masks = _all_meetings(labels, values, is_open, ends)
    sets = [np.empty((0, MEETING), np.uint32)]
    gains = [np.empty((0, table.shape[1]), np.int64)]
    for size in range(2, MEETING + 1):
        for columns in combinations(range(MEETING), size):
            rows = meeting[:, columns].all(axis=1)
            chosen = np.zeros((int(rows.sum()), MEETING), np.uint32)
            chosen[:, -size:] = meeting[rows][:, columns]
            sets.append(chosen)
            gains.append(_inverse(masks[rows][:, columns], table))
    return _summed(np.concatenate(sets), np.concatenate(gains))


def _all_meetings(
    labels: NDArray[np.uint32],
    values: NDArray[np.uint8],
    is_open: NDArray[np.bool_],
    ends: NDArray[np.int64],
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Labels of one material in one cell, (n, MEETING), filled with zeros, and their masks."""
    room = labels.size // 64  # mostly enough; else the second time it is
    while True:
        meeting = np.zeros((room, MEETING), np.uint32)
        masks = np.zeros((room, MEETING), np.uint8)
        found = _meetings(labels, values, is_open, ends, meeting, masks)
        if found <= room:
            return meeting[:found], masks[:found]
        room = found


def _inverse(masks: NDArray[np.uint8], table: NDArray[np.int64]) -> NDArray[np.int64]:
    """The g of the set of all columns of `masks`, row by row."""
    size = masks.shape[1]
    gain = np.zeros((len(masks), table.shape[1]), np.int64)
    for part in range(1, size + 1):
        sign = (-1) ** (size - part)
        for columns in combinations(range(size), part):
            gain += sign * table[np.bitwise_or.reduce(masks[:, columns], axis=1)]
    return gain


def _summed(
    sets: NDArray[np.uint32], gains: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    sets.sort(axis=1)
    distinct, position = np.unique(sets, axis=0, return_inverse=True)
    total = np.zeros((len(distinct), gains.shape[1]), np.int64)
    np.add.at(total, position, gains)
    return distinct, total


@njit(cache=True, nogil=True)
def _meetings(
    labels: NDArray[np.uint32],
    values: NDArray[np.uint8],
    is_open: NDArray[np.bool_],
    ends: NDArray[np.int64],
    meeting: NDArray[np.uint32],
    masks: NDArray[np.uint8],
) -> int:
    """Count the cells where open labels of one material meet; write as many as there is room."""
    found = 0
    cell = np.empty(8, np.uint32)
    cell_values = np.empty(8, np.uint8)
    for z in range(1, labels.shape[0] - 1 + ends[0]):
        for y in range(1, labels.shape[1] - 1 + ends[1]):
            for x in range(1, labels.shape[2] - 1 + ends[2]):
                if not _several(labels, z, y, x):
                    continue
                for i in range(8):
                    at = (z - 1 + (i >> 1 & 1), y - 1 + (i & 1), x - 1 + (i >> 2))
                    cell[i], cell_values[i] = labels[at], values[at]
                if _meet(cell, cell_values):
                    found = _note(cell, cell_values, is_open, found, meeting, masks)
    return found


@njit(cache=True, nogil=True, inline="always")
def _several(labels: NDArray[np.uint32], z: int, y: int, x: int) -> bool:
    """Whether a cell, named by its high corner, holds more than one label besides background.

    Few do: where the rest of the cell is background or that one label, nothing can meet.
    """
    a, b = labels[z - 1, y - 1, x - 1], labels[z - 1, y - 1, x]
    c, d = labels[z - 1, y, x - 1], labels[z - 1, y, x]
    e, f = labels[z, y - 1, x - 1], labels[z, y - 1, x]
    g, h = labels[z, y, x - 1], labels[z, y, x]
    one = max(a, b, c, d, e, f, g, h)
    return not (
        ((a == one) | (a == 0))
        & ((b == one) | (b == 0))
        & ((c == one) | (c == 0))
        & ((d == one) | (d == 0))
        & ((e == one) | (e == 0))
        & ((f == one) | (f == 0))
        & ((g == one) | (g == 0))
        & ((h == one) | (h == 0))
    )


@njit(cache=True, nogil=True, inline="always")
def _meet(cell: NDArray[np.uint32], cell_values: NDArray[np.uint8]) -> bool:
    """Whether two voxels of a cell are of one material and not of one label; few cells have any."""
    meet = False
    for i in range(8):
        for k in range(8):  # fixed lengths become vector code
            meet |= (cell_values[i] == cell_values[k]) & (cell[i] != cell[k])
    return meet


@njit(cache=True, nogil=True)
def _note(
    cell: NDArray[np.uint32],
    cell_values: NDArray[np.uint8],
    is_open: NDArray[np.bool_],
    found: int,
    meeting: NDArray[np.uint32],
    masks: NDArray[np.uint8],
) -> int:
    """Append the meetings of one cell, as far as there is room; returns how many there are now."""
    row = np.zeros(MEETING, np.uint32)
    row_masks = np.zeros(MEETING, np.uint8)
    left = 0
    for i in range(8):
        left |= is_open[cell[i]] << i
    while left:
        left, count = _take_material(cell, cell_values, left, row, row_masks)
        if count > 1:
            if found < len(meeting):
                meeting[found, :count] = row[:count]
                masks[found, :count] = row_masks[:count]
            found += 1
    return found


@njit(cache=True, nogil=True, inline="always")
def _take_material(
    cell: NDArray[np.uint32],
    cell_values: NDArray[np.uint8],
    left: int,
    row: NDArray[np.uint32],
    row_masks: NDArray[np.uint8],
) -> tuple[int, int]:
    """Collect the labels of the first material left in a cell; what is left then, and how many."""
    first = 0
    while not left >> first & 1:
        first += 1
    value = cell_values[first]
    count = 0
    for i in range(first, 8):
        if left >> i & 1 and cell_values[i] == value:
            mask = 0
            for k in range(i, 8):
                mask |= (cell[k] == cell[i]) << k
            row[count], row_masks[count] = cell[i], mask
            left &= ~mask
            count += 1
    return left, count
