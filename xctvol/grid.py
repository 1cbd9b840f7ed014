"""Boxes, blocks and the grid that tiles a volume with them: integers only, axes (z, y, x)."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xctvol.errors import PlanError

__all__ = ["Block", "Box", "Grid", "Index3", "counted"]

Index3 = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A half-open range of voxels: start <= (z, y, x) < stop."""

    start: Index3
    stop: Index3

    def __post_init__(self) -> None:
        assert all(a <= b for a, b in zip(self.start, self.stop, strict=True)), self

    @classmethod
    def whole(cls, shape: Index3) -> "Box":
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Index3:
        (a, b, c), (d, e, f) = self.start, self.stop
        return (d - a, e - b, f - c)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of this box in an array of the whole volume."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return (z, y, x)

    def within(self, outer: "Box") -> tuple[slice, slice, slice]:
        """Index of this box in an array that holds `outer`."""
        z, y, x = (
            slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, outer.start, strict=True)
        )
        return (z, y, x)

    def intersect(self, other: "Box") -> "Box | None":
        """The voxels in both boxes, or None where there are none."""
        start = tuple(map(max, self.start, other.start))
        stop = tuple(map(min, self.stop, other.stop))
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            return None
        return Box(_index3(start), _index3(stop))


@dataclass(frozen=True)
class Block:
    """One unit of work: it alone writes `write`, and reads `read`, which contains it.

    ::

        read   +-----------+
               |  write    |      read minus write is the halo
               | +-------+ |
               | +-------+ |
               +-----------+
    """

    index: int
    write: Box
    read: Box


@dataclass(frozen=True)
class Grid:
    """All blocks of a volume; their write boxes tile it exactly once.

    `halo` voxels (z, y, x) are read on the low side of a block, cut at the volume's edge.

    >>> [b.write.start[0] for b in Grid((100, 8, 8), (64, 8, 8))]
    [0, 64]
    """

    shape: Index3
    block: Index3
    halo: Index3 = (0, 0, 0)

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.block) < 1 or min(self.halo) < 0:
            raise PlanError(
                f"cannot divide a volume of {self.shape} (z, y, x) into blocks of {self.block}: "
                "every axis needs at least one voxel"
            )

    @property
    def counts(self) -> Index3:
        """Number of blocks along z, y and x."""
        return _index3(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __getitem__(self, index: int) -> Block:
        if not 0 <= index < len(self):
            raise IndexError(index)
        _, ny, nx = self.counts
        position = (index // (ny * nx), index // nx % ny, index % nx)
        start = _index3(p * b for p, b in zip(position, self.block, strict=True))
        stop = _index3(min(s + b, n) for s, b, n in zip(start, self.block, self.shape, strict=True))
        low = _index3(max(0, s - h) for s, h in zip(start, self.halo, strict=True))
        return Block(index, Box(start, stop), Box(low, stop))

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(len(self)))

    def touching(self, box: Box) -> Iterator[tuple[Index3, Box, Box]]:
        """For each block that `box` touches: its position, its write box, and what both share.

        >>> [p for p, _, _ in Grid((64, 64, 64), (64, 32, 32)).touching(Box((0, 8, 8), (9, 9, 40)))]
        [(0, 0, 0), (0, 0, 1)]
        """
        _, ny, nx = self.counts
        ranges = (
            range(a // b, min(-(-e // b), n))
            for a, e, b, n in zip(box.start, box.stop, self.block, self.counts, strict=True)
        )
        for z, y, x in itertools.product(*ranges):
            cell = self[(z * ny + y) * nx + x].write
            shared = cell.intersect(box)
            if shared is not None:
                yield (z, y, x), cell, shared


def counted(lengths: Iterable[int]) -> tuple[Block, ...]:
    """Blocks of work that is not on voxels: each counts for so many images, or epochs.

    >>> [b.write.start[0] for b in counted([5, 5, 1])]
    [0, 5, 10]
    """
    ends = [0, *itertools.accumulate(lengths)]
    boxes = (Box((a, 0, 0), (b, 1, 1)) for a, b in itertools.pairwise(ends))
    return tuple(Block(index, box, box) for index, box in enumerate(boxes))


def _index3(values: "Iterator[int] | tuple[int, ...]") -> Index3:
    z, y, x = values
    return (z, y, x)
