"""Parts of a stored file, wherever it is: by system calls from a disk, by ranges from a bucket."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xctvol.files import refuse_special
from xctvol.locations import Location, S3Path

__all__ = ["Parts", "bytes_in_transit", "open_parts"]

Place = tuple[int, int]
"""Offset and length, in bytes."""

Reader = Callable[[Place], bytes | memoryview]


class Parts(Protocol):
    """A file whose parts can be read; it is `nbytes` long."""

    @property
    def nbytes(self) -> int: ...

    def reader(self, places: Sequence[Place]) -> Reader:
        """Gives the bytes at any of `places`, all within the file, in any thread.

        What is far is fetched now, together; what is near when it is asked for.
        """
        ...

    def close(self) -> None: ...


def open_parts(path: Location, *, whole: bool) -> Parts:
    """Open a file to read parts of it; raises FileNotFoundError where there is none.

    `whole` says that all of it will be read: then what is far is fetched in one request.
    """
    if not isinstance(path, S3Path):
        return _OnDisk(path)
    return _InMemory(path.fetched()) if whole else _InBucket(path, path.nbytes())


def bytes_in_transit(path: Location, nbytes: int) -> int:
    """Memory that reading `nbytes` of voxels takes beside them, for what is not decoded yet.

    From a disk chunks come one by one; from a bucket all of a shard that is wanted, at most as
    large as its voxels, give or take an index.
    """
    return nbytes if isinstance(path, S3Path) else 0


class _OnDisk:
    """Reads each part when it is asked for, in one system call."""

    def __init__(self, path: Path) -> None:
        refuse_special(path)
        self._descriptor = os.open(path, os.O_RDONLY)
        self.nbytes = os.fstat(self._descriptor).st_size

    def reader(self, places: Sequence[Place]) -> Reader:
        return lambda place: os.pread(self._descriptor, place[1], place[0])

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True)
class _InBucket:
    """Fetches all parts that are asked for together."""

    path: S3Path
    nbytes: int

    def reader(self, places: Sequence[Place]) -> Reader:
        offsets, lengths = [offset for offset, _ in places], [length for _, length in places]
        fetched = self.path.read_ranges(offsets, lengths)
        return dict(zip(places, fetched, strict=True)).__getitem__

    def close(self) -> None:
        """Nothing is open between two requests."""


@dataclass(frozen=True)
class _InMemory:
    """Has all of the file, from one request."""

    content: memoryview

    @property
    def nbytes(self) -> int:
        return self.content.nbytes

    def reader(self, places: Sequence[Place]) -> Reader:
        return lambda place: self.content[place[0] : place[0] + place[1]]

    def close(self) -> None:
        """The memory goes with this object."""
