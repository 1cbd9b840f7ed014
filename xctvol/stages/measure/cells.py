"""Loops over the 2 x 2 x 2 cells of a block, which add up surfaces, Euler numbers and contacts.

Arrays of a block are as in `runs`. A block owns the cells whose high corner is one of its core
voxels; where the block is the volume's last along an axis it takes the cells beyond as well.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xctvol.stages.measure.columns import CELLS, Rows
from xctvol.stages.measure.marks import Positions, marked, positions, row_of_marks

__all__ = ["DIRECTIONS", "INNER_EULER", "LONGEST_ROW", "add_cells", "count_contacts", "packed"]

INNER_EULER = 9
"""Column, in the sums of materials, of the Euler numbers of cells within the volume."""

DIRECTIONS = 7
"""Groups of directions in which voxels touch, as in `surface`: x, y, z, yx, zx, zy, zyx."""

Ints = NDArray[np.int64]
Labels = NDArray[np.uint32]
Values = NDArray[np.uint8]

_FIELD = 21  # bits
_ONE_FIELD = (1 << _FIELD) - 1
_HALF = (1 << 32) - 1
_FIRST = CELLS.start

LONGEST_ROW = 1 << (_FIELD - 2)
"""Voxels along x whose sums fit the fields of packed cells: four transitions each at most."""


def packed(table: Ints) -> Ints:
    """Rows of `surface.cell_table` in four words (256, 4), which add up without overflow in a row.

    Adding nine columns for each of a billion cells would cost twice the time.
    """
    euler, area, *counts = table.T
    words = [area]
    words += [counts[i] | counts[i + 1] << _FIELD | counts[i + 2] << 2 * _FIELD for i in (0, 3)]
    words.append(counts[6] + (euler << 32))
    return np.ascontiguousarray(np.stack(words, axis=1))


@njit(cache=True, nogil=True)
def add_cells(
    values: Values,
    labels: Labels,
    border: Ints,
    present: Values,
    table: Ints,
    joined: bool,
    rows: Rows,
    materials: Ints,
) -> None:
    """Add each cell to the rows of the labels in it, and to the `materials` (256, 10) in it.

    `border` (2, 3) is 1 on the low and high sides where the volume ends; `present` are the values
    that occur, `table` is `packed`. `joined` says that voxels of one value in a cell are always of
    one label, as they are with 26-connectivity.
    """
    depth, height, width = values.shape
    half, masks = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    marks, found = row_of_marks(width), positions(width)
    flat, corners = labels.reshape(-1), _corners(height, width)
    lowest = _lowest(corners)
    total = np.zeros(4, np.int64)
    for z in range(1, depth - 1 + border[1, 0]):
        for y in range(1, height - 1 + border[1, 1]):
            around = flat[((z - 1) * height + y - 1) * width :]
            is_outer = _is_outer(z, depth, border[:, 0]) or _is_outer(y, height, border[:, 1])
            for value in present:
                _mark_cells(values[z - 1 : z + 1, y - 1 : y + 1], value, half, masks, marks)
                marks[width - 1] &= border[1, 2]
                cells = found[: marked(marks, found)]
                if cells.size == 0:
                    continue
                total[:] = 0
                if joined:
                    _add_joined(cells, masks, around, lowest, table, rows, total)
                else:
                    _add_split(cells, masks, around, corners, table, rows, total)
                _unpack(total[0], total[1], total[2], total[3], materials[value], 0)
                if not is_outer:
                    ends = border[0, 2] * table[masks[1], 3] + border[1, 2] * table[masks[-1], 3]
                    materials[value, INNER_EULER] += (total[3] - ends) >> 32


@njit(cache=True, nogil=True)
def _corners(height: int, width: int) -> NDArray[np.uint64]:
    """Steps, in a flat array, from the voxel before a cell's high x to its eight voxels.

    Corner 4 dx + 2 dz + dy is bit number so of a mask.
    """
    corners = np.empty(8, np.uint64)
    for i in range(8):
        corners[i] = ((i >> 1 & 1) * height + (i & 1)) * width + (i >> 2)
    return corners


@njit(cache=True, nogil=True)
def _lowest(corners: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The step to the first voxel of each mask."""
    steps = np.zeros(256, np.uint64)
    for mask in range(1, 256):
        i = 0
        while not mask >> i & 1:
            i += 1
        steps[mask] = corners[i]
    return steps


@njit(cache=True, nogil=True)
def _is_outer(at: int, size: int, border: Ints) -> bool:
    """Whether a cell reaches beyond the volume along an axis."""
    return (at == 1 and border[0] == 1) or at == size - 1


@njit(cache=True, nogil=True)
def _mark_cells(
    values: Values, value: int, half: Values, masks: Values, marks: NDArray[np.uint8]
) -> None:
    """Masks of `value` in the cells of four rows; marks where it fills a part of the cell."""
    a, b, c, d = values[0, 0], values[0, 1], values[1, 0], values[1, 1]
    for x in range(a.size):
        half[x] = (
            np.uint8(a[x] == value)
            | np.uint8(b[x] == value) << 1
            | np.uint8(c[x] == value) << 2
            | np.uint8(d[x] == value) << 3
        )
    for x in range(1, a.size):
        mask = np.uint8(half[x - 1] | half[x] << 4)
        masks[x] = mask
        marks[x] = 1 if np.uint8(mask + 1) > 1 else 0  # all and nothing add nothing


@njit(cache=True, nogil=True)
def _add_joined(
    cells: Positions,
    masks: Values,
    around: Labels,
    lowest: NDArray[np.uint64],
    table: Ints,
    rows: Rows,
    total: Ints,
) -> None:
    """Neighbouring cells mostly belong to one label: add them up before they go to its row."""
    current = np.uint64(0)
    area = first = second = third = 0
    for x in cells:
        mask = masks[x]
        label = np.uint64(around[x - np.uint64(1) + lowest[mask]])
        if label != current:
            _unpack(area, first, second, third, rows[current], _FIRST)
            _add_words(total, area, first, second, third)
            area = first = second = third = 0
            current = label
        area += table[mask, 0]
        first += table[mask, 1]
        second += table[mask, 2]
        third += table[mask, 3]
    _unpack(area, first, second, third, rows[current], _FIRST)
    _add_words(total, area, first, second, third)


@njit(cache=True, nogil=True)
def _add_split(
    cells: Positions,
    masks: Values,
    around: Labels,
    corners: NDArray[np.uint64],
    table: Ints,
    rows: Rows,
    total: Ints,
) -> None:
    """Each label in a cell has a mask of its own."""
    for x in cells:
        left = np.int64(masks[x])
        _add_words(total, table[left, 0], table[left, 1], table[left, 2], table[left, 3])
        while left:
            label = np.uint32(0)
            mask = 0
            for i in range(8):
                here = around[x - np.uint64(1) + corners[i]]
                if left >> i & 1 and (mask == 0 or here == label):
                    label = here
                    mask |= 1 << i
            left &= ~mask
            _unpack(
                table[mask, 0], table[mask, 1], table[mask, 2], table[mask, 3], rows[label], _FIRST
            )


@njit(cache=True, nogil=True, inline="always")
def _add_words(total: Ints, area: int, first: int, second: int, third: int) -> None:
    total[0] += area
    total[1] += first
    total[2] += second
    total[3] += third


@njit(cache=True, nogil=True, inline="always")
def _unpack(area: int, first: int, second: int, third: int, row: Ints, at: int) -> None:
    row[at] += third >> 32
    row[at + 1] += area
    row[at + 2] += first & _ONE_FIELD
    row[at + 3] += first >> _FIELD & _ONE_FIELD
    row[at + 4] += first >> 2 * _FIELD
    row[at + 5] += second & _ONE_FIELD
    row[at + 6] += second >> _FIELD & _ONE_FIELD
    row[at + 7] += second >> 2 * _FIELD
    row[at + 8] += third & _HALF


@njit(cache=True, nogil=True)
def count_contacts(values: Values, contacts: Ints) -> None:
    """Add pairs of voxels that touch to `contacts`, by their values, in either order.

    Each pair is counted in one cell only: on its high faces, or through its middle. `contacts` is
    (256, 256, DIRECTIONS), of which few pages are ever touched, if numpy has made it.
    """
    depth, height, width = values.shape
    marks, found = row_of_marks(width), positions(width)
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            a, b, c, d = values[z - 1, y - 1], values[z - 1, y], values[z, y - 1], values[z, y]
            _mark_uneven(a, b, c, d, marks)
            for i in range(marked(marks, found)):
                _count_cell(a, b, c, d, found[i], contacts)


@njit(cache=True, nogil=True)
def _mark_uneven(a: Values, b: Values, c: Values, d: Values, marks: NDArray[np.uint8]) -> None:
    """Mark the cells of the core that hold more than one value."""
    for x in range(1, a.size - 1):
        value = a[x]
        before = (a[x - 1] ^ value) | (b[x - 1] ^ value) | (c[x - 1] ^ value) | (d[x - 1] ^ value)
        marks[x] = 1 if before | (b[x] ^ value) | (c[x] ^ value) | (d[x] ^ value) else 0


@njit(cache=True, nogil=True, inline="always")
def _count_cell(a: Values, b: Values, c: Values, d: Values, x: int, contacts: Ints) -> None:
    w = x - np.uint64(1)
    a0, a1, b0, b1 = a[w], a[x], b[w], b[x]
    c0, c1, d0, d1 = c[w], c[x], d[w], d[x]
    contacts[d0, d1, 0] += 1
    contacts[c1, d1, 1] += 1
    contacts[b1, d1, 2] += 1
    contacts[c0, d1, 3] += 1
    contacts[c1, d0, 3] += 1
    contacts[b0, d1, 4] += 1
    contacts[b1, d0, 4] += 1
    contacts[a1, d1, 5] += 1
    contacts[b1, c1, 5] += 1
    contacts[a0, d1, 6] += 1
    contacts[a1, d0, 6] += 1
    contacts[b0, c1, 6] += 1
    contacts[b1, c0, 6] += 1
