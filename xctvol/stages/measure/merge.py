"""Joining the components of blocks into regions of the volume.

Components that reach another block are nodes, links between them edges of a graph. A region's
sums are those of its components; its number is its rank by first voxel in raster order, the number
that `skimage.measure.label` gives it. Nothing depends on the order or the size of blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xctvol.stages.measure.sums import CELLS, COLUMNS

__all__ = ["Components", "Regions", "join", "region_of"]


@dataclass(frozen=True)
class Components:
    """Components of all blocks, one row each, block after block; columns as in `VoxelSums`.

    `first` is -1 for a component that a block sees in its halo only.
    """

    values: NDArray[np.uint8]
    sums: NDArray[np.int64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]


@dataclass(frozen=True)
class Regions:
    """Connected regions of a volume; row i is region i + 1."""

    values: NDArray[np.uint8]
    sums: NDArray[np.int64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)


def region_of(components: int, links: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """The region, from 0 in no particular order, of each component; and how many there are.

    `links` (n, 2) are pairs of rows of one region.
    """
    nodes, ends = np.unique(links, return_inverse=True)  # only what reaches a face takes part
    root = np.arange(len(nodes))
    _unite(root, ends.reshape(-1, 2))
    parent = np.arange(components)
    parent[nodes] = nodes[root]
    is_root = parent == np.arange(components)
    return (np.cumsum(is_root) - 1)[parent], int(is_root.sum())


def join(
    components: Components,
    links: NDArray[np.int64],
    corrections: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> Regions:
    """Regions from components, `links` between rows, and what `ambiguous.corrections` left open.

    A correction's sets hold rows of `components`, or -1 where they are smaller.
    """
    region, count = region_of(len(components.first), links)
    sums = np.zeros((count, COLUMNS), np.int64)
    boxes = np.zeros((count, 6), np.int64)
    first = np.full(count, -1)
    values = np.zeros(count, np.uint8)
    _reduce(
        region,
        (components.values, components.sums, components.boxes, components.first),
        (values, sums, boxes, first),
    )
    for sets, gains in corrections:
        _correct(region, sets, gains, sums)
    order = np.argsort(first, kind="stable")
    return Regions(values[order], sums[order], boxes[order], first[order])


def _correct(
    region: NDArray[np.int64],
    sets: NDArray[np.int64],
    gains: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Add each gain whose whole set has become one region."""
    owner = region[sets[:, -1]]
    whole = ((sets < 0) | (region[sets] == owner[:, None])).all(axis=1)
    np.add.at(sums[:, CELLS], owner[whole], gains[whole])


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
def _reduce(
    region: NDArray[np.int64],
    parts: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    whole: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    values, sums, boxes, first = parts
    to_values, to_sums, to_boxes, to_first = whole
    for i in range(len(region)):
        r = region[i]
        to_sums[r] += sums[i]
        if first[i] < 0:
            continue
        if to_first[r] < 0:
            to_first[r] = first[i]
            to_values[r] = values[i]
            to_boxes[r] = boxes[i]
            continue
        to_first[r] = min(to_first[r], first[i])
        for axis in range(3):
            to_boxes[r, axis] = min(to_boxes[r, axis], boxes[i, axis])
            to_boxes[r, 3 + axis] = max(to_boxes[r, 3 + axis], boxes[i, 3 + axis])
