"""How a volume is cut into levels, shards and chunks: integers only.

Level 0 has shards of 64 slices; each further level halves every axis and has shards of half the
depth. So a slab of 64 slices holds whole shards of all levels, and whoever has written it has
written its part of the pyramid too.
"""

from dataclasses import dataclass

from xctvol.grid import Grid, Index3

__all__ = ["SLAB", "Layout", "Level", "layout_of"]

SLAB = 64
"""Slices in a slab: the depth of a shard at full resolution."""

_CHUNK = (16, 128, 128)
_SHARD_SIDE = 1024
_SCREEN = 1024
_MAX_LEVELS = 7  # the shards of level 6 are one slice deep


@dataclass(frozen=True)
class Level:
    """One resolution: its shape and the shapes of its shards and chunks, (z, y, x)."""

    shape: Index3
    shard: Index3
    chunk: Index3
    factor: Index3
    """Voxels of level 0 along each axis of one voxel here."""


@dataclass(frozen=True)
class Layout:
    """All levels of a volume, fine to coarse."""

    levels: tuple[Level, ...]

    @property
    def slabs(self) -> Grid:
        """The blocks of a volume that write whole shards of every level."""
        z, y, x = self.levels[0].shape
        return Grid((z, y, x), (SLAB, y, x))


def layout_of(shape: Index3) -> Layout:
    """The layout of a volume of `shape` (z, y, x): halved until it fits a screen.

    >>> [level.shape for level in layout_of((2000, 2560, 2560)).levels]
    [(2000, 2560, 2560), (1000, 1280, 1280), (500, 640, 640)]
    >>> layout_of((2000, 2560, 2560)).levels[0].shard
    (64, 1280, 1280)
    """
    levels = [_level(0, shape, (1, 1, 1))]
    while max(levels[-1].shape) > _SCREEN and len(levels) < _MAX_LEVELS:
        last = levels[-1]
        halved = tuple(-(-n // 2) for n in last.shape)
        factor = tuple(
            f * (2 if n > 1 else 1) for f, n in zip(last.factor, last.shape, strict=True)
        )
        levels.append(
            _level(
                len(levels),
                (halved[0], halved[1], halved[2]),
                (factor[0], factor[1], factor[2]),
            )
        )
    return Layout(tuple(levels))


def _level(number: int, shape: Index3, factor: Index3) -> Level:
    depth = SLAB >> number
    shard = (depth, _side(shape[1]), _side(shape[2]))
    return Level(shape, shard, (min(_CHUNK[0], depth), *_CHUNK[1:]), factor)


def _side(length: int) -> int:
    """Whole chunks, near 1024, and an exact divisor of the axis where there is one."""
    chunk = _CHUNK[1]
    sides = range(_SHARD_SIDE // 2, _SHARD_SIDE * 3 // 2 + 1, chunk)
    exact = [side for side in sides if length % side == 0]
    if exact:
        return min(exact, key=lambda side: abs(side - _SHARD_SIDE))
    count = max(1, round(length / _SHARD_SIDE))
    return -(-length // (count * chunk)) * chunk
