"""How the connected components of one block continue in its neighbours.

A block is labelled together with one voxel of low halo. The halo belongs to up to seven
neighbours, which label the same voxels themselves: where both look at one voxel they name one
component. These pairs connect blocks exactly for any connectivity, because any two adjacent
voxels lie together in at least one block with its halo.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Index3

__all__ = [
    "LOW_NEIGHBOURS",
    "Plane",
    "Planes",
    "links",
    "continuing",
]

Plane = NDArray[np.uint32]

LOW_NEIGHBOURS: tuple[Index3, ...] = tuple(
    (-dz, -dy, -dx) for dz, dy, dx in product((0, 1), repeat=3) if dz or dy or dx
)
"""Steps, in blocks, to the neighbours that a low halo belongs to."""


class Planes(NamedTuple):
    """Labels on the border of a block, one plane an axis.

    `low` is the halo plane with its halo rows; `high` the last plane of the core alone.
    """

    low: tuple[Plane, Plane, Plane]
    high: tuple[Plane, Plane, Plane]

    @classmethod
    def of(cls, labels: NDArray[np.uint32]) -> "Planes":
        halo, core = labels[:-1, :-1, :-1], labels[1:-1, 1:-1, 1:-1]
        return cls(
            (halo[0].copy(), halo[:, 0].copy(), halo[:, :, 0].copy()),
            (core[-1].copy(), core[:, -1].copy(), core[:, :, -1].copy()),
        )

    def renumbered(self, numbers: NDArray[np.uint32]) -> "Planes":
        """The same planes with `numbers` of the labels in their place."""
        low, high = ([numbers[plane] for plane in side] for side in self)
        return Planes((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def continuing(planes: Planes, has_next: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Which of the labels 0..count may go on in another block; (count + 1,).

    `has_next` is true along the axes where the volume goes on after the block.
    """
    is_open = np.zeros(count + 1, bool)
    for low, high, following in zip(planes.low, planes.high, has_next, strict=True):
        is_open[low] = True
        if following:
            is_open[high] = True
    is_open[0] = False
    return is_open


def links(low: Plane, high: Plane, step: Index3) -> NDArray[np.int64]:
    """Pairs (my number, its number) of one component, (n, 2), sorted, each once.

    `step` leads to the neighbour and is one of LOW_NEIGHBOURS. `low` is my plane, and `high` the
    neighbour's, of the first axis it steps along; on the others both share the core or a halo row.
    """
    axis = step.index(-1)
    others = [s for a, s in enumerate(step) if a != axis]
    here = low[tuple(slice(0, 1) if s else slice(1, None) for s in others)]
    there = high[tuple(slice(-1, None) if s else slice(None) for s in others)]
    pairs = (here.astype(np.int64) << 32 | there)[here > 0]
    is_new = np.diff(pairs, prepend=-1) != 0  # most voxels say what the one before them did
    mine, its = np.divmod(np.unique(pairs[is_new]), 1 << 32)
    return np.stack([mine, its], axis=1)
