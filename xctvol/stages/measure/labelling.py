"""Numbering the connected components of one block, by union-find over voxels.

A voxel touches up to thirteen that come before it in raster order. Which of them have its value is
a pattern of thirteen bits, which vector loops find for a row at once. A table says for each pattern
which voxels need be looked at: those that hang together without the new one are of one component
already, so one of them will do. Mostly that is the voxel above, whose label is taken over without a
branch; few others are left.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xctvol.stages.measure.marks import marked, positions, row_of_marks

__all__ = ["Connectivity", "label_block"]

Connectivity = Literal[6, 18, 26]
Bits = NDArray[np.uint8]
Labels = NDArray[np.uint32]
Steps = NDArray[np.int64]
Values = NDArray[np.uint8]

_ORDERS = {6: 1, 18: 2, 26: 3}
"""In how many coordinates voxels that touch may differ."""

_SAME_SLICE = [(0, -1, 0), (0, 0, -1), (0, -1, -1), (0, -1, 1)]
_SLICE_ABOVE = [(-1, dy, dx) for dy in (0, -1, 1) for dx in (0, -1, 1)]
_STEPS: Steps = np.array([_SLICE_ABOVE[0], *_SAME_SLICE, *_SLICE_ABOVE[1:]])
"""Steps (z, y, x) to the voxels before one, in the order of the bits of a pattern."""

_ABOVE = 0
_LOW_BITS = np.uint16(7)


class _Groups(NamedTuple):
    """What a voxel of each pattern is to be united with.

    `counts` (8192,) says how many groups there are, `members` (8192, n) which steps lead to one
    voxel of each, `others` (8192,) is 1 where these are not just the voxel above. The latter
    `above_will_do` wherever it has the value, if all voxels of a pattern touch it.
    """

    counts: NDArray[np.uint8]
    members: NDArray[np.uint8]
    others: NDArray[np.uint8]
    above_will_do: bool


def label_block(block: Values, connectivity: Connectivity) -> tuple[Labels, int]:
    """Number the components of equal, non-zero values from 1; returns labels and their count.

    Components are in the order of their first voxels.
    """
    around = np.pad(block, ((1, 0), (1, 1), (1, 1)))
    labels = np.empty(block.shape, np.uint32)
    parents = np.empty(block.size + 1, np.uint32)  # pages that no label needs are never touched
    _, height, width = block.shape
    steps = _STEPS @ (height * width, width, 1)
    given = _unite_voxels(around, _groups(_ORDERS[connectivity]), steps, labels, parents)
    count = _number_roots(parents[: given + 1])
    _replace(labels.reshape(-1), parents)
    return labels, count


@lru_cache(maxsize=3)
def _groups(order: int) -> _Groups:
    """Tables for voxels that touch where they differ in at most `order` coordinates."""
    bits = np.arange(len(_STEPS))
    inside = (np.arange(1 << len(bits))[:, None] >> bits & 1).astype(bool)
    group = np.where(inside, bits, len(bits))  # the lowest bit of all that hang together
    pairs = np.argwhere(_touch(_STEPS[:, None] - _STEPS, order))
    before = np.empty_like(group)
    while (before != group).any():
        before[...] = group
        for a, b in pairs:
            both = inside[:, a] & inside[:, b]
            group[both, a] = np.minimum(group[both, a], group[both, b])
    touching = inside & _touch(_STEPS, order)
    chosen = touching.copy()
    for bit in bits:
        earlier = touching[:, :bit] & (group[:, :bit] == group[:, [bit]])
        chosen[:, bit] &= ~earlier.any(axis=1)
    counts = chosen.sum(axis=1).astype(np.uint8)
    members = np.argsort(~chosen, axis=1, kind="stable")[:, : counts.max()].astype(np.uint8)
    others = ((counts != 1) | (members[:, 0] != _ABOVE)).astype(np.uint8)
    above_will_do = not others[inside[:, _ABOVE]].any()
    return _Groups(counts, np.ascontiguousarray(members), others, above_will_do)


def _touch(steps: Steps, order: int) -> NDArray[np.bool_]:
    distances = np.abs(steps)
    return (distances.max(axis=-1) == 1) & (distances.sum(axis=-1) <= order)


@njit(cache=True, nogil=True)
def _unite_voxels(
    around: Values, groups: _Groups, steps: Steps, labels: Labels, parents: Labels
) -> int:
    """Give each voxel a label and each label a parent; returns how many labels there are.

    A parent has a lower number than its children, and a root is its own. `around` are the values,
    with a voxel of zeros where `steps` into the flat `labels` lead out of them.
    """
    depth, height, width = labels.shape
    low, high = row_of_marks(width), row_of_marks(width)
    marks, found = row_of_marks(width), positions(width)
    flat, nothing = labels.reshape(-1), np.zeros(width, np.uint32)
    count = parents[0] = 0
    for z in range(depth):
        for y in range(height):
            row, ids = around[z + 1, y + 1], labels[z, y]
            _find_low(row, around[z + 1, y], around[z, y + 1], low)
            _find_high(row, around[z, y], around[z, y + 2], high)
            _take_over(row, labels[z - 1, y] if z else nothing, parents, ids)
            _mark_others(row, low, high, groups, marks)
            start = (z * height + y) * width
            for x in found[: marked(marks, found)]:
                here, pattern = start + np.int64(x), _pattern(low[x], high[x])
                if groups.counts[pattern] == 0:
                    count += 1
                    parents[count] = ids[x] = count
                    continue
                root = _root(parents, flat[here + steps[groups.members[pattern, 0]]])
                for i in range(1, groups.counts[pattern]):
                    other = _root(parents, flat[here + steps[groups.members[pattern, i]]])
                    root, child = min(root, other), max(root, other)
                    parents[child] = root
                ids[x] = root
    return count


@njit(cache=True, nogil=True)
def _find_low(row: Values, before: Values, above: Values, low: Bits) -> None:
    """The first bits of the patterns of `row`; rows have a voxel more on each side."""
    for x in range(row.size - 2):
        value = row[x + 1]
        low[x] = (
            np.uint8(above[x + 1] == value)
            | np.uint8(before[x + 1] == value) << 1
            | np.uint8(row[x] == value) << 2
            | np.uint8(before[x] == value) << 3
            | np.uint8(before[x + 2] == value) << 4
            | np.uint8(above[x] == value) << 5
            | np.uint8(above[x + 2] == value) << 6
        )


@njit(cache=True, nogil=True)
def _find_high(row: Values, before: Values, after: Values, high: Bits) -> None:
    """The other bits, from rows of the slice above."""
    for x in range(row.size - 2):
        value = row[x + 1]
        high[x] = (
            np.uint8(before[x + 1] == value)
            | np.uint8(before[x] == value) << 1
            | np.uint8(before[x + 2] == value) << 2
            | np.uint8(after[x + 1] == value) << 3
            | np.uint8(after[x] == value) << 4
            | np.uint8(after[x + 2] == value) << 5
        )


@njit(cache=True, nogil=True)
def _take_over(row: Values, above: Labels, parents: Labels, ids: Labels) -> None:
    """Labels of the voxels above; parents know better than these what has been united since."""
    for x in range(ids.size):
        ids[x] = parents[above[x]] if row[x + 1] else np.uint32(0)


@njit(cache=True, nogil=True)
def _mark_others(row: Values, low: Bits, high: Bits, groups: _Groups, marks: Bits) -> None:
    """Mark the voxels that are not just united with the one above."""
    for x in range(row.size - 2):
        marks[x] = np.uint8(row[x + 1] != 0)
    if groups.above_will_do:
        for x in range(row.size - 2):
            marks[x] &= ~low[x]
    else:
        for x in range(row.size - 2):
            marks[x] &= groups.others[_pattern(low[x], high[x])]


@njit(cache=True, nogil=True, inline="always")
def _pattern(low: np.uint8, high: np.uint8) -> np.uint16:
    return np.uint16(low) | np.uint16(high) << _LOW_BITS


@njit(cache=True, nogil=True, inline="always")
def _root(parents: Labels, label: int) -> int:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@njit(cache=True, nogil=True)
def _number_roots(parents: Labels) -> int:
    """Put the number of its component in place of each label's parent; returns their count."""
    count = 0
    for label in range(1, parents.size):
        parent = parents[label]
        if parent == label:
            count += 1
            parents[label] = count
        else:
            parents[label] = parents[parent]  # which is a number by now
    return count


@njit(cache=True, nogil=True)
def _replace(labels: Labels, numbers: Labels) -> None:
    for i in range(labels.size):
        labels[i] = numbers[labels[i]]
