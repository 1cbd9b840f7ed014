"""One shard file: compressed chunks one after the other, then an index of where each lies.

The layout is zarr v3's `sharding_indexed` codec with the index at the end: for each chunk in C
order its offset and length as little-endian uint64, both 2**64 - 1 for a chunk that holds only
zeros, then a crc32c. Encoding it here, chunk by chunk from the slab in memory, costs a third of
the processor time of the general library and holds no second copy of the shard.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import staged
from xctvol.grid import Box, Grid, Index3
from xctvol.volume.codecs import Codec, checksum, checksum_matches, with_checksum

__all__ = ["encode_shard", "read_shard", "shard_checksum", "write_shard"]

_EMPTY = np.iinfo(np.uint64).max
_READ_BYTES = 1 << 20


def encode_shard(voxels: NDArray[Any], chunk: Index3, grid: Index3, codec: Codec) -> Iterator[Any]:
    """Parts of the shard file of `voxels`, each made when it is asked for.

    `voxels` may end before the shard does, at the volume's edge; `grid` is the number of chunks
    of a whole shard. There are no parts at all where every voxel is zero: zarr stores no such
    shard.
    """
    index = np.full((*grid, 2), _EMPTY, "<u8")
    scratch = np.zeros(chunk, voxels.dtype.newbyteorder("<"))
    content = scratch.view(np.uint8)  # of floats, only +0.0 has no bits
    offset = 0
    for block in Grid(_shape3(voxels), chunk):
        _fill(scratch, voxels[block.write.slices])
        if not content.any():
            continue
        encoded = codec.encode(scratch)
        position = tuple(s // c for s, c in zip(block.write.start, chunk, strict=True))
        index[position] = (offset, len(encoded))
        offset += len(encoded)
        yield encoded
    if offset:
        yield with_checksum(index.tobytes())


def write_shard(path: Path, parts: Iterable[Any]) -> str | None:
    """Write the parts as they come, and return the file's checksum.

    Without any part there is to be no file: one from before is removed, and None returned.
    """
    coming = iter(parts)
    first = next(coming, None)
    if first is None:
        path.unlink(missing_ok=True)
        return None
    crc = 0
    with staged(path) as partial, open(partial, "wb") as file:
        for part in chain([first], coming):
            file.write(part)
            crc = checksum(part, crc)
    return f"{crc:08x}"


def shard_checksum(path: Path) -> str | None:
    """The checksum of a shard file as it is on disk; None where there is none."""
    block = np.empty(_READ_BYTES, np.uint8)
    crc = 0
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(block.data):
                crc = checksum(block[:count], crc)
    except FileNotFoundError:
        return None
    return f"{crc:08x}"


def _fill(scratch: NDArray[Any], voxels: NDArray[Any]) -> None:
    if voxels.shape != scratch.shape:
        scratch[...] = 0
    scratch[tuple(slice(n) for n in voxels.shape)] = voxels


def read_shard(
    path: Path, box: Box, chunk: Index3, grid: Index3, codec: Codec, out: NDArray[Any]
) -> None:
    """Fill `out` with the voxels of `box`, in coordinates of the shard.

    A missing file holds zeros. Only the chunks that `box` touches are read. Raises InputError
    where the file is damaged.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        out[...] = 0
        return
    try:
        index = _read_index(file, path, grid)
        scratch = np.empty(chunk, out.dtype.newbyteorder("<"))
        for position, cell, part in Grid(_shape_of(chunk, grid), chunk).touching(box):
            offset, length = (int(v) for v in index[position])
            target = out[part.within(box)]
            if offset == length == _EMPTY:
                target[...] = 0
                continue
            _decode(file, offset, length, codec, scratch, path)
            target[...] = scratch[part.within(cell)]
    finally:
        os.close(file)


def _read_index(file: int, path: Path, grid: Index3) -> NDArray[np.uint64]:
    length = 16 * grid[0] * grid[1] * grid[2] + 4
    size = os.fstat(file).st_size
    data = os.pread(file, length, size - length) if size >= length else b""
    if len(data) != length or not checksum_matches(data):
        raise InputError(f"{path} is damaged: its index of chunks is cut off or does not add up")
    index: NDArray[np.uint64] = np.frombuffer(data[:-4], "<u8").reshape(*grid, 2)
    return index


def _decode(
    file: int, offset: int, length: int, codec: Codec, scratch: NDArray[Any], path: Path
) -> None:
    try:
        if offset + length > os.fstat(file).st_size:
            raise ValueError("a chunk lies beyond the end of the file")
        codec.decode(os.pread(file, length, offset), scratch)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _shape_of(chunk: Index3, grid: Index3) -> Index3:
    return (chunk[0] * grid[0], chunk[1] * grid[1], chunk[2] * grid[2])


def _shape3(voxels: NDArray[Any]) -> Index3:
    z, y, x = voxels.shape
    return (z, y, x)
