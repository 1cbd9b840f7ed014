"""Joining the components of blocks into regions of the volume.

Components that reach another block are nodes, links between them edges of a graph. A region's row
is that of its components merged; regions are ordered by their first voxel in raster order, as
`skimage.measure.label` numbers them. Nothing depends on the order or the size of blocks.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xctvol.grid import Index3
from xctvol.stages.measure.columns import (
    BOX_HIGH,
    BOX_LOW,
    FIRST,
    GREY_MAX,
    GREY_MIN,
    GREY_SQUARES,
    GREY_SUM,
    VALUE,
    VOXELS,
    WIDTH,
    Rows,
)

__all__ = ["LARGEST", "REGIONS", "SPANNING", "add_census", "census", "merge_rows", "region_of"]

REGIONS = 0
LARGEST = 1
SPANNING = slice(2, 5)
"""Columns of a census: regions that are large enough; voxels of the largest of all, and of those
that reach from end to end along z, y and x."""

_SUMS_END = BOX_LOW.start
_LOW, _HIGH = BOX_LOW.start, BOX_HIGH.start


def region_of(components: int, links: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """The region, from 0 in no particular order, of each component; and how many there are.

    `links` (n, 2) are pairs of rows of one region.
    """
    root = np.arange(components)
    _unite(root, links)
    is_root = root == np.arange(components)
    return (np.cumsum(is_root) - 1)[root], int(is_root.sum())


def census(rows: Rows, shape: Index3, least: int) -> NDArray[np.int64]:
    """What regions say of their materials, (256, 5), by label value; `least` voxels are enough."""
    table = np.zeros((256, 5), np.int64)
    voxels, values = rows[:, VOXELS], rows[:, VALUE]
    np.add.at(table[:, REGIONS], values, voxels >= least)
    np.maximum.at(table[:, LARGEST], values, voxels)
    spans = (rows[:, BOX_LOW] == 0) & (rows[:, BOX_HIGH] == np.array(shape))
    np.add.at(table[:, SPANNING], values, voxels[:, None] * spans)
    return table


def add_census(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The census of two sets of regions together."""
    total = one + other
    total[:, LARGEST] = np.maximum(one[:, LARGEST], other[:, LARGEST])
    return total


@njit(cache=True, nogil=True)
def _unite(root: NDArray[np.int64], links: NDArray[np.int64]) -> None:
    """Union-find; in the end `root` holds the lowest node of each tree."""
    for i in range(len(links)):
        a, b = links[i]
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a < b:
            root[b] = a
        else:
            root[a] = b
    for i in range(len(root)):
        root[i] = root[root[i]]  # parents come before their children


@njit(cache=True, nogil=True)
def merge_rows(rows: Rows, region: NDArray[np.int64], merged: Rows) -> None:
    """Merge each row into that of its region."""
    for i in range(len(rows)):
        row, target = rows[i], merged[region[i]]
        for column in range(_SUMS_END):
            target[column] += row[column]
        for axis in range(3):
            target[_LOW + axis] = min(target[_LOW + axis], row[_LOW + axis])
            target[_HIGH + axis] = max(target[_HIGH + axis], row[_HIGH + axis])
        target[FIRST] = min(target[FIRST], row[FIRST])
        target[VALUE] = max(target[VALUE], row[VALUE])  # 0 where a block sees the halo only
        if len(row) > WIDTH:
            target[GREY_SUM] += row[GREY_SUM]
            target[GREY_SQUARES] += row[GREY_SQUARES]
            target[GREY_MIN] = min(target[GREY_MIN], row[GREY_MIN])
            target[GREY_MAX] = max(target[GREY_MAX], row[GREY_MAX])
