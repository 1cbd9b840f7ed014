"""Checksums that an image was written with, kept in the attributes of its arrays.

They are crc32c as eight hexadecimal digits: of each shard file, by its zarr key, and of the bytes
of each slice as the source gave it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from xctvol.errors import InputError
from xctvol.files import read_json
from xctvol.locations import Location

__all__ = ["Checksums"]

_OWN, _SHARDS, _SLICES = "xctvol", "shards_crc32c", "source_slices_crc32c"

Keys = Mapping[str, str]


@dataclass(frozen=True)
class Checksums:
    """Of the shards of each level, fine to coarse, and of the slices of the source.

    A shard without one holds only zeros and is not stored.
    """

    shards: tuple[Keys, ...]
    slices: tuple[str, ...]

    @classmethod
    def joined(cls, slabs: Iterable[tuple[Sequence[Keys], Sequence[str]]]) -> Self:
        """Those of a whole image, from those of its slabs in order."""
        parts = list(slabs)
        levels = zip(*(shards for shards, _ in parts), strict=True)
        shards = tuple(
            {key: crc for keys in level for key, crc in keys.items()} for level in levels
        )
        return cls(shards, tuple(crc for _, slices in parts for crc in slices))

    def replaced(self, level: int, gone: Iterable[str], keys: Keys) -> "Checksums":
        """The same with other shards at one level: those of `keys`, without those that are gone."""
        kept = {**self.shards[level], **dict.fromkeys(gone, ""), **keys}  # in their places
        shards = list(self.shards)
        shards[level] = {key: crc for key, crc in kept.items() if crc}
        return Checksums(tuple(shards), self.slices)

    def attributes(self, level: int) -> dict[str, Any]:
        """What the array of a level carries."""
        own: dict[str, Any] = {_SHARDS: dict(self.shards[level])}
        if level == 0:
            own[_SLICES] = list(self.slices)
        return {_OWN: own}

    @classmethod
    def read(cls, levels: Sequence[Location]) -> Self | None:
        """Those of a finished image, or None where it was written without."""
        owns = [read_json(path / "zarr.json").get("attributes", {}).get(_OWN) for path in levels]
        if any(own is None for own in owns):
            return None
        try:
            shards = tuple({str(k): str(v) for k, v in own[_SHARDS].items()} for own in owns)
            return cls(shards, tuple(str(crc) for crc in owns[0][_SLICES]))
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"the checksums in {levels[0]} are damaged: {error!r}") from error
