"""How a label volume is divided into blocks, and what they read and write: integers only."""

from collections.abc import Iterable
from math import prod

from xctvol.grid import Block, Box, Index3
from xctvol.stages.measure.cells import LONGEST_ROW
from xctvol.volume import SLAB

__all__ = ["bytes_decoded", "bytes_of_planes", "choose_block"]

_VOXELS = 1 << 25  # 400 MB a worker; larger blocks would read less halo, but hardly any faster
_PLANE_BYTES = 4  # labels


def choose_block(shape: Index3, chunk: Index3) -> Index3:
    """The shape of blocks of a volume: a slab deep, whole chunks wide, and not too large.

    A slab is what the volume of region numbers is written by. A block reads its halo in chunks of
    which it needs little else, so the axis with the fewest chunks is doubled first.

    >>> choose_block((8000, 2560, 2560), (16, 128, 128))
    (64, 512, 1024)
    """
    depth = min(SLAB, shape[0])
    sides = [min(chunk[1], shape[1]), min(chunk[2], shape[2], LONGEST_ROW)]
    while depth * prod(sides) > _VOXELS:
        longer = sides.index(max(sides))
        sides[longer] = -(-sides[longer] // 2)
    while True:
        wider = [i for i in (1, 0) if _fits(depth, sides, i, shape)]
        if not wider:
            return (depth, sides[0], sides[1])
        axis = min(wider, key=lambda i: sides[i] / chunk[i + 1])
        sides[axis] = min(2 * sides[axis], shape[axis + 1])


def _fits(depth: int, sides: list[int], axis: int, shape: Index3) -> bool:
    """Whether a side may be doubled."""
    limit = LONGEST_ROW if axis == 1 else shape[1]
    size = min(2 * sides[axis], shape[axis + 1])
    return sides[axis] < size <= limit and depth * prod(sides) // sides[axis] * size <= _VOXELS


def bytes_decoded(blocks: Iterable[Block], shape: Index3, chunk: Index3, itemsize: int) -> int:
    """Bytes of the whole chunks that the blocks read."""
    return sum(_whole_chunks(block.read, shape, chunk) for block in blocks) * itemsize


def _whole_chunks(box: Box, shape: Index3, chunk: Index3) -> int:
    sides = zip(box.start, box.stop, shape, chunk, strict=True)
    return prod(min(n, -(-stop // c) * c) - start // c * c for start, stop, n, c in sides)


def bytes_of_planes(block: Block) -> int:
    """Bytes of the labels on the six sides of a block."""
    z, y, x = block.write.shape
    return 2 * _PLANE_BYTES * ((y + 1) * (x + 1) + (z + 1) * (x + 1) + (z + 1) * (y + 1))
