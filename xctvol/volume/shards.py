"""One shard file: compressed chunks one after the other, then an index of where each lies.

The layout is zarr v3's `sharding_indexed` codec with the index at the end: for each chunk in C
order its offset and length as little-endian uint64, both 2**64 - 1 for a chunk that holds only
zeros, then a crc32c. Encoding it here, chunk by chunk from the slab in memory, costs less than half
of the processor time of the general library and holds no second copy of the shard.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import refuse_special, staged, start_flush
from xctvol.grid import Block, Box, Grid, Index3
from xctvol.locations import Location
from xctvol.volume.buffers import reused
from xctvol.volume.codecs import Codec, checksum, checksum_matches, with_checksum
from xctvol.volume.parts import Parts, open_parts
from xctvol.volume.threads import in_turn

__all__ = ["encode_shard", "read_shard", "shard_checksum", "write_shard"]

_EMPTY = np.iinfo(np.uint64).max
_READ_BYTES = 1 << 20
_FLUSH_BYTES = 1 << 23


def encode_shard(voxels: NDArray[Any], chunk: Index3, grid: Index3, codec: Codec) -> Iterator[Any]:
    """Parts of the shard file of `voxels`, made a little before they are asked for.

    `voxels` may end before the shard does, at the volume's edge; `grid` is the number of chunks
    of a whole shard. There are no parts at all where every voxel is zero: zarr stores no such
    shard.
    """
    index = np.full((*grid, 2), _EMPTY, "<u8")
    offset = 0

    def encode(row: Sequence[Block]) -> list[tuple[Index3, Any]]:
        return list(_encoded(voxels, row, chunk, codec))

    for position, encoded in chain.from_iterable(in_turn(encode, _rows(voxels.shape, chunk))):
        index[position] = (offset, len(encoded))
        offset += len(encoded)
        yield encoded
    if offset:
        yield with_checksum(index.tobytes())


def _rows(shape: Iterable[int], chunk: Index3) -> Iterator[list[Block]]:
    """The chunks of a shard, those along x together: work for one thread."""
    z, y, x = shape
    return (list(row) for _, row in groupby(Grid((z, y, x), chunk), lambda b: b.write.start[:2]))


def _encoded(
    voxels: NDArray[Any], row: Sequence[Block], chunk: Index3, codec: Codec
) -> Iterator[tuple[Index3, Any]]:
    """Position and bytes of each chunk of a row that is not all zeros."""
    scratch = np.zeros(chunk, voxels.dtype.newbyteorder("<"))
    content = scratch.view(np.uint8)  # of floats, only +0.0 has no bits
    for block in row:
        _fill(scratch, voxels[block.write.slices])
        if any(plane.any() for plane in content):  # most often the first one tells
            z, y, x = (s // c for s, c in zip(block.write.start, chunk, strict=True))
            yield (z, y, x), codec.encode(scratch)


def write_shard(path: Location, parts: Iterable[Any]) -> str | None:
    """Write the parts as they come, and return the file's checksum.

    Without any part there is to be no file: one from before is removed, and None returned.
    """
    coming = iter(parts)
    first = next(coming, None)
    if first is None:
        path.unlink(missing_ok=True)
        return None
    crc = nbytes = flushed = 0
    with staged(path) as partial, open(partial, "wb") as file:
        for part in chain([first], coming):
            nbytes += file.write(part)
            crc = checksum(part, crc)
            if nbytes - flushed >= _FLUSH_BYTES:
                start_flush(file, flushed, nbytes)
                flushed = nbytes
    return f"{crc:08x}"


def shard_checksum(path: Location) -> str | None:
    """The checksum of a shard file as it is on disk; None where there is none.

    Raises InputError where the disk does not give it.
    """
    refuse_special(path)
    block = np.empty(_READ_BYTES, np.uint8)
    crc = 0
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block.data):
                crc = checksum(block[:count], crc)
    except FileNotFoundError:
        return None
    except OSError as error:  # of a read, it does not say of which file
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return f"{crc:08x}"


def _fill(scratch: NDArray[Any], voxels: NDArray[Any]) -> None:
    if voxels.shape != scratch.shape:
        scratch[...] = 0
    scratch[tuple(slice(n) for n in voxels.shape)] = voxels


def read_shard(
    path: Location,
    box: Box,
    shape: Index3,
    chunk: Index3,
    grid: Index3,
    codec: Codec,
    out: NDArray[Any],
) -> None:
    """Fill `out` with the voxels of `box`, in coordinates of the shard, which holds `shape`.

    Only the chunks that `box` touches are read. Raises InputError where the file is damaged, and
    FileNotFoundError where there is none.
    """
    cells = list(Grid(_shape_of(chunk, grid), chunk).touching(box))
    with closing(open_parts(path, whole=len(cells) == len(Grid(shape, chunk)))) as file:
        index = _read_index(file, path, grid)
        places = {cell.start: _place(index, position, file, path) for position, cell, _ in cells}
        stored = file.reader([place for place in places.values() if place is not None])

        def read(row: Sequence[tuple[Index3, Box, Box]]) -> None:
            scratch = reused("chunk", chunk, out.dtype.newbyteorder("<"))
            for _, cell, part in row:
                target, place = out[part.within(box)], places[cell.start]
                if place is None:
                    target[...] = 0
                    continue
                _decode(stored(place), codec, scratch, path)
                target[...] = scratch[part.within(cell)]

        rows = (list(row) for _, row in groupby(cells, lambda found: found[0][:2]))
        for _ in in_turn(read, rows):
            pass


def _read_index(file: Parts, path: Location, grid: Index3) -> NDArray[np.uint64]:
    length = 16 * math.prod(grid) + 4
    last = [(file.nbytes - length, length)] if file.nbytes >= length else []
    data = b"".join(map(file.reader(last), last))
    if len(data) != length or not checksum_matches(data):
        raise InputError(f"{path} is damaged: its index of chunks is cut off or does not add up")
    index: NDArray[np.uint64] = np.frombuffer(data[:-4], "<u8").reshape(*grid, 2)
    return index


def _place(
    index: NDArray[np.uint64], position: Index3, file: Parts, path: Location
) -> tuple[int, int] | None:
    """Offset and length of a chunk; None where it is not stored."""
    offset, length = (int(value) for value in index[position])
    if offset == length == _EMPTY:
        return None
    if offset + length > file.nbytes:
        raise InputError(f"{path} is damaged: a chunk lies beyond the end of the file")
    return offset, length


def _decode(data: bytes | memoryview, codec: Codec, scratch: NDArray[Any], path: Location) -> None:
    try:
        codec.decode(data, scratch)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _shape_of(chunk: Index3, grid: Index3) -> Index3:
    return (chunk[0] * grid[0], chunk[1] * grid[1], chunk[2] * grid[2])
