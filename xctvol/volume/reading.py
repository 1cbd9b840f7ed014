"""What reading a part of an array takes beside the voxels that are asked for."""

import math
from collections.abc import Iterable
from typing import Any

from xctvol.files import read_json
from xctvol.grid import Box, Index3
from xctvol.volume.array import Array, ZarrArray

__all__ = ["reading_bytes"]

_COPIES = 3  # of a chunk: as stored, as decoded, and between two codecs or kept by the allocator
_SHARD_COPIES = 2  # of what is wanted of a shard: as stored, and as decoded
_LIBRARY_BYTES = 30_000_000  # its threads, and what it imports to decode


def reading_bytes(array: Array, boxes: Iterable[Box]) -> int:
    """The most memory that reading any one of `boxes` holds beside the voxels of the box.

    None for arrays of our own: their shards are decoded straight into place. The zarr library
    makes a box of its own first, and has several chunks under way, each of which it decodes as a
    whole however little of it is wanted.
    """
    if not isinstance(array, ZarrArray):
        return 0
    at_once, shard = _at_once(), _shard_of(array)
    return max(_held(array, box, at_once, shard) for box in boxes)


def _held(array: ZarrArray, box: Box, at_once: int, shard: Index3 | None) -> int:
    itemsize = array.dtype.itemsize
    chunk = math.prod(array.chunk) * itemsize
    chunks = _touched(array.chunk, box)
    held = box.size * itemsize + _COPIES * min(chunks, at_once) * chunk + _LIBRARY_BYTES
    if shard is None:
        return held
    wanted = min(chunks * chunk, at_once * math.prod(shard) * itemsize)
    return held + _SHARD_COPIES * wanted


def _touched(chunk: Index3, box: Box) -> int:
    """How many chunks have voxels of a box."""
    ranges = zip(box.start, box.stop, chunk, strict=True)
    return math.prod(-(-stop // side) - start // side for start, stop, side in ranges)


def _at_once() -> int:
    """Chunks that the library has under way at the same time."""
    import zarr  # who has an array of another form has loaded it

    return int(zarr.config.get("async.concurrency") or 1 << 20)


def _shard_of(array: ZarrArray) -> Index3 | None:
    """The shape of the files that chunks lie in together, where the library reads parts of them."""
    place = array.path / "zarr.json"
    metadata: Any = read_json(place) if place.exists() else {}
    match metadata.get("codecs"):
        case [{"name": "sharding_indexed"}]:
            z, y, x = metadata["chunk_grid"]["configuration"]["chunk_shape"][array.leading :]
            return (int(z), int(y), int(x))
    return None
