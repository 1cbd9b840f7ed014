"""Compression of chunks, and its name in zarr metadata."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numcodecs.blosc import SHUFFLE, Blosc
from numcodecs.checksum32 import CRC32C
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from xctvol.errors import InputError

__all__ = [
    "Codec",
    "CodecName",
    "checksum",
    "checksum_matches",
    "default_codec",
    "with_checksum",
]

CodecName = Literal["zstd", "lz4", "none"]

_MARKS = (0xA5, 0x5A)  # for the last byte: one that stays was not decoded
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


@dataclass(frozen=True)
class Codec:
    """One compressor: `zstd` level 1, `lz4` after a byte shuffle, or `none`."""

    name: CodecName

    def encode(self, chunk: NDArray[Any]) -> Any:
        """Bytes of a C-contiguous little-endian chunk."""
        if self.name == "zstd":
            return Zstd(level=1).encode(chunk)
        if self.name == "lz4":
            return Blosc("lz4", clevel=5, shuffle=SHUFFLE).encode(chunk)
        return chunk.tobytes()

    def decode(self, encoded: bytes | memoryview, out: NDArray[Any]) -> None:
        """Fill all of `out`, C-contiguous; raises ValueError or RuntimeError for damaged bytes."""
        content = out.reshape(-1).view(np.uint8)
        for mark in _MARKS:
            content[-1] = mark
            self._decode(encoded, content)
            if content[-1] != mark:
                return
        raise ValueError("a chunk holds fewer voxels than it should")

    def _decode(self, encoded: bytes | memoryview, content: NDArray[np.uint8]) -> None:
        """The libraries refuse what is too long, but leave as it was what they do not reach."""
        if self.name == "zstd":
            Zstd().decode(encoded, content)
        elif self.name == "lz4":
            Blosc().decode(encoded, content)
        else:
            content[...] = _same_length(encoded, content)

    def to_zarr(self, itemsize: int) -> list[dict[str, Any]]:
        """The codec chain of inner chunks, as zarr v3 writes it."""
        if self.name == "zstd":
            return [_BYTES, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
        if self.name == "lz4":
            configuration = {
                "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": itemsize,
                "blocksize": 0,
            }  # fmt: skip  # one value a line would be longer than the function
            return [_BYTES, {"name": "blosc", "configuration": configuration}]
        return [_BYTES]

    @classmethod
    def from_zarr(cls, chain: Any) -> "Codec":
        """The codec of a chain that this package writes; raises InputError for any other."""
        for name in ("zstd", "lz4", "none"):
            codec = cls(name)
            if any(chain == codec.to_zarr(itemsize) for itemsize in (1, 2, 4, 8)):
                return codec
        raise InputError(f"chunks are compressed in another way: {chain!r}")


def default_codec(dtype: np.dtype[Any]) -> Codec:
    """Zstd for integers; floats gain more, and faster, from a shuffle and lz4."""
    return Codec("lz4" if dtype.kind == "f" else "zstd")


def _same_length(encoded: bytes | memoryview, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is stored as it is; numpy would repeat a single byte."""
    stored = np.frombuffer(encoded, np.uint8)
    if stored.shape != content.shape:
        raise ValueError(f"a chunk of {content.size} bytes holds {stored.size}")
    return stored


def checksum(data: Any, before: int = 0) -> int:
    """The crc32c of `data`, bytes or an array, after bytes whose crc32c is `before`."""
    return int(CRC32C.checksum(data, before))


def with_checksum(data: bytes) -> bytes:
    """`data` and its crc32c, as zarr's index codec `crc32c` appends it."""
    return bytes(CRC32C(location="end").encode(data))


def checksum_matches(data: bytes) -> bool:
    """Whether the crc32c in the last four bytes is that of the bytes before."""
    return with_checksum(data[:-4]) == data
