"""Zarr arrays on disk: our own sharded ones, and any other through the zarr library."""

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, XctvolError
from xctvol.files import read_json, write_json
from xctvol.grid import Box, Grid, Index3
from xctvol.locations import Location, S3Path
from xctvol.volume.codecs import Codec
from xctvol.volume.shards import encode_shard, read_shard, shard_checksum, write_shard
from xctvol.volume.threads import in_threads

__all__ = ["Array", "Shard", "ShardedArray", "ZarrArray", "open_array"]

AXES = ("z", "y", "x")
_NUMBERS = "uifb"  # numpy kinds
_WIDEST = 8  # bytes of a number; the long doubles of one machine are not those of another
_MOST_BYTES, _MOST_CHUNK_BYTES, _MOST_CHUNKS = 1 << 60, 1 << 30, 1 << 20
_INDEX_CODECS = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "crc32c"},
]
_MUCH = 0.25  # of a shard, from where on comparing all of it costs little more
_KEY_ENCODING = {"name": "default", "configuration": {"separator": "/"}}


_compared: set[tuple[str, int, int]] = set()
"""Shards that this process found as they were written: path, size and time."""


class Array(Protocol):
    """A (z, y, x) array on disk."""

    @property
    def path(self) -> Location: ...
    @property
    def shape(self) -> Index3: ...
    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels, in native byte order whatever that on disk."""
        ...

    @property
    def chunk(self) -> Index3:
        """The smallest box that is read or decoded as one."""
        ...

    def read_into(self, box: Box, out: NDArray[Any]) -> None:
        """Fill `out` with the voxels of `box`; raises InputError where a file is damaged."""
        ...


@dataclass(frozen=True)
class Shard:
    """One shard file of an array: its zarr key, the voxels it holds, and those that are meant."""

    key: str
    path: Location
    cell: Box
    part: Box


@dataclass(frozen=True)
class ShardedArray:
    """An array in the one form this package writes: regular shards of regular chunks, fill 0."""

    path: Location
    shape: Index3
    dtype: np.dtype[Any]
    shard: Index3
    chunk: Index3
    codec: Codec
    checksums: Mapping[str, str] | None = field(default=None, compare=False, repr=False)
    """Of all shards that were stored, by key, where that was recorded."""

    def read_into(self, box: Box, out: NDArray[Any]) -> None:
        """Fill `out` with the voxels of `box`, shards side by side in threads.

        A shard of which much is wanted is compared with its checksum first, once a process.
        """

        def read(shard: Shard) -> None:
            if shard.part.size > _MUCH * shard.cell.size:
                self._refuse_changed(shard)
            self.read_shard(shard, out[shard.part.within(box)])

        in_threads(read, self.shards(box))

    def slab_shards(self, z0: int, slab: NDArray[Any]) -> list[tuple["Shard", NDArray[Any]]]:
        """The shards of a slab that begins at slice `z0`, with their voxels.

        A slab has all y and x, and the depth of the shards; only the last one may be thinner.
        """
        assert z0 % self.shard[0] == 0
        assert slab.shape[1:] == self.shape[1:]
        assert slab.shape[0] == min(self.shard[0], self.shape[0] - z0)
        box = Box((z0, 0, 0), (z0 + slab.shape[0], *self.shape[1:]))
        return [(shard, slab[shard.cell.within(box)]) for shard in self.shards(box)]

    def write_shard(self, shard: "Shard", voxels: NDArray[Any]) -> str | None:
        """Write a shard's voxels and return the checksum of its file.

        One of zeros is not stored: a file that is there from before is removed, and None returned.
        """
        return write_shard(shard.path, encode_shard(voxels, self.chunk, self._chunks, self.codec))

    def shards(self, box: Box) -> list["Shard"]:
        """The shards that `box` touches."""
        grid = Grid(self.shape, self.shard)
        return [self._shard(place, cell, part) for place, cell, part in grid.touching(box)]

    def read_shard(self, shard: "Shard", out: NDArray[Any]) -> None:
        """Fill `out` with the voxels of `shard.part`.

        Raises InputError, which names the file, where it is damaged or cannot be read.
        """
        inside, cell = _relative(shard.part, shard.cell.start), shard.cell.shape
        try:
            read_shard(shard.path, inside, cell, self.chunk, self._chunks, self.codec, out)
        except FileNotFoundError:
            if self.checksums and shard.key in self.checksums:
                raise InputError(
                    f"{shard.path} is missing, and is not one of zeros; xctvol verify names all "
                    "such files, and says how to make them again"
                ) from None
            out[...] = 0  # shards of zeros are not stored
        except OSError as error:  # of a read, it does not say of which file
            raise InputError(f"cannot read {shard.path}: {error.strerror or error}") from error

    def _refuse_changed(self, shard: "Shard") -> None:
        """Raise InputError for a shard that is not as it was written, though it can be decoded.

        Not in a bucket, from which all of it would come twice, and which compares by itself.
        """
        if self.checksums is None or isinstance(shard.path, S3Path):
            return
        try:
            state = shard.path.stat()
        except OSError:  # reading it says why
            return
        seen = (str(shard.path), state.st_size, state.st_mtime_ns)
        if seen in _compared:
            return
        if shard_checksum(shard.path) != self.checksums.get(shard.key):
            raise InputError(
                f"{shard.path} is damaged: it is not what was written; xctvol verify names all "
                "such files, and says how to make them again"
            )
        _compared.add(seen)

    @property
    def _chunks(self) -> Index3:
        """Chunks in a whole shard along each axis."""
        z, y, x = (s // c for s, c in zip(self.shard, self.chunk, strict=True))
        return (z, y, x)

    def _shard(self, position: Index3, cell: Box, part: Box) -> "Shard":
        key = "/".join(("c", *map(str, position)))
        return Shard(key, self.path / key, cell, part)

    def write_metadata(self, attributes: Mapping[str, Any]) -> None:
        """Write zarr.json, which makes the shards an array for every zarr reader."""
        sharding = {
            "chunk_shape": list(self.chunk),
            "codecs": self.codec.to_zarr(self.dtype.itemsize),
            "index_codecs": _INDEX_CODECS,
            "index_location": "end",
        }
        metadata = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.shard)}},
            "chunk_key_encoding": _KEY_ENCODING,
            "fill_value": 0,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": dict(attributes),
            "dimension_names": list(AXES),
        }
        write_json(self.path / "zarr.json", metadata)

    @classmethod
    def from_metadata(cls, path: Location, metadata: Any) -> "ShardedArray | None":
        """The array that zarr.json describes, or None where it has another form than ours."""
        try:
            codecs = metadata["codecs"]
            sharding = codecs[0]["configuration"]
            array = cls(
                path,
                _index3(metadata["shape"]),
                np.dtype(str(metadata["data_type"])),
                _index3(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
                _index3(sharding["chunk_shape"]),
                Codec.from_zarr(sharding["codecs"]),
                _recorded(metadata),
            )
            ours = (
                len(codecs) == 1
                and codecs[0]["name"] == "sharding_indexed"
                and sharding["index_codecs"] == _INDEX_CODECS
                and sharding.get("index_location", "end") == "end"
                and metadata["data_type"] == array.dtype.name
                and metadata["chunk_grid"]["name"] == "regular"
                and metadata["chunk_key_encoding"] == _KEY_ENCODING
                and metadata["fill_value"] == 0
            )
        except (
            AttributeError, IndexError, InputError, KeyError, OverflowError, TypeError, ValueError,
        ):  # fmt: skip  # whatever reading the metadata of another program can raise
            return None
        return array if ours and array._is_regular() else None

    def _is_regular(self) -> bool:
        """Whether shards hold whole chunks of numbers."""
        pairs = list(zip(self.shard, self.chunk, strict=True))
        whole = all(0 < chunk <= shard and shard % chunk == 0 for shard, chunk in pairs)
        return whole and _is_number(self.dtype)


@dataclass(frozen=True)
class ZarrArray:
    """An array of any other form, read through the zarr library.

    `leading` axes before z, such as time and channel, have one entry each and are left out.
    """

    path: Location
    shape: Index3
    dtype: np.dtype[Any]
    chunk: Index3
    leading: int = 0

    def read_into(self, box: Box, out: NDArray[Any]) -> None:
        try:
            with _explained(self.path):
                out[...] = _zarr(self.path)[(0,) * self.leading + box.slices]
        except XctvolError:
            raise
        except Exception as error:  # damaged codecs raise anything at all
            raise InputError(f"cannot read {self.path}: {_brief(error)}") from error


def open_array(path: Location) -> Array:
    """The array in a zarr folder, v3 or v2; raises InputError for what is not (z, y, x) numbers.

    More axes may precede z, of one entry each.
    """
    metadata = read_json(path / "zarr.json") if (path / "zarr.json").exists() else None
    ours = ShardedArray.from_metadata(path, metadata)
    if ours is not None:
        _refuse_absurd(path, ours.shape, ours.chunk, ours.dtype)
        if math.prod(ours.shard) // math.prod(ours.chunk) > _MOST_CHUNKS:
            raise InputError(f"{path} claims shards of {ours.shard} voxels, too large to be real")
        return ours
    array = _zarr(path)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    leading = array.ndim - len(AXES)
    if leading < 0 or any(n != 1 for n in array.shape[:leading]) or not _is_number(dtype):
        raise InputError(
            f"{path} holds {array.ndim} axes of {dtype} ({' x '.join(map(str, array.shape))}); a "
            "volume has three, z, y and x, of whole or real numbers of at most 64 bits: save one "
            "channel or time as its own array"
        )
    shape, chunk = _index3(array.shape[leading:]), _index3(array.chunks[leading:])
    _refuse_absurd(path, shape, chunk, dtype)
    return ZarrArray(path, shape, dtype, chunk, leading)


def _recorded(metadata: Any) -> Mapping[str, str] | None:
    """The checksums of an array of this package; others have none."""
    found = metadata.get("attributes", {}).get("xctvol", {}).get("shards_crc32c")
    return found if isinstance(found, dict) else None


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in _NUMBERS and dtype.itemsize <= _WIDEST


def _zarr(path: Location) -> Any:
    import zarr  # half a second, and not needed for arrays of our own

    try:
        if not isinstance(path, S3Path):
            return zarr.open_array(path, mode="r")
        store = zarr.storage.ObjectStore(path.store(), read_only=True)
        with path.explained():
            return zarr.open_array(store, path=path.key, mode="r")
    except XctvolError:
        raise
    except Exception as error:  # damaged metadata raises anything at all
        raise InputError(f"cannot open {path} as a zarr array: {_brief(error)}") from error


def _explained(path: Location) -> AbstractContextManager[None]:
    """What the zarr library lets through of the one that speaks with servers."""
    return path.explained() if isinstance(path, S3Path) else nullcontext()


def _brief(error: Exception) -> str:
    """What a library says of an error, in one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said:.300}"


def _refuse_absurd(path: Location, shape: Index3, chunk: Index3, dtype: np.dtype[Any]) -> None:
    if min(shape) < 1 or math.prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise InputError(f"{path} claims the impossible shape {shape}")
    if math.prod(chunk) * dtype.itemsize > _MOST_CHUNK_BYTES:
        raise InputError(
            f"{path} has chunks of {chunk} voxels, each of which is read as a whole; store it "
            "again in chunks of at most 1 GB"
        )


def _relative(box: Box, origin: Index3) -> Box:
    z, y, x = origin
    (a, b, c), (d, e, f) = box.start, box.stop
    return Box((a - z, b - y, c - x), (d - z, e - y, f - x))


def _index3(values: Iterable[Any]) -> Index3:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
