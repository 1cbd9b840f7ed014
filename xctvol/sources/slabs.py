"""Slabs of a source: read into memory that is used again, and watched for changes meanwhile."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.journal import file_identity
from xctvol.resources import thread_budget
from xctvol.sources.base import Pixels, Source, readable
from xctvol.sources.cropped import Crop
from xctvol.sources.zarr_folder import ZarrScan
from xctvol.volume.buffers import reused
from xctvol.volume.codecs import checksum
from xctvol.volume.layout import SLAB
from xctvol.volume.reading import reading_bytes
from xctvol.volume.threads import in_threads

__all__ = ["held_bytes", "FileStates", "files_of", "read_slab", "refuse_changed"]

_SLICES_AT_ONCE = 8
_CROP_BATCH_BYTES = 1 << 26


def read_slab(source: Source, z0: int, z1: int) -> tuple[Pixels, list[str]]:
    """Slices z0 to z1, in memory that the next slab of this thread will take, and their checksums.

    A checksum is the crc32c of the bytes of a slice, in hexadecimal.

    Slices that are files of their own, or made up, are read side by side in threads; a file that
    holds several may have to unpack the same part for each of them.
    """
    slab: Pixels = reused("slab", (z1 - z0, *source.shape[1:]), source.dtype)
    step = _SLICES_AT_ONCE if _are_apart(source) else z1 - z0

    def read(first: int) -> list[str]:
        last = min(first + step, z1)
        part = slab[first - z0 : last - z0]
        source.read_into(first, last, part)
        return [f"{checksum(image):08x}" for image in part]

    return slab, list(chain.from_iterable(in_threads(read, range(z0, z1, step))))


def files_of(source: Source, z0: int, z1: int) -> tuple[Path, ...]:
    """The files that hold slices z0 to z1."""
    if isinstance(source, Crop):
        first = source.box.start[0]
        return files_of(source.source, first + z0, first + z1)
    return source.files[z0:z1] if _are_apart(source) else source.files


def held_bytes(source: Source) -> int:
    """What a source holds beside a slab while it is read.

    That is all of a packed file, twice while it is unpacked; whole slices of what is cropped; and
    what reading a zarr array of another program takes.
    """
    depth = source.shape[0]
    return max(_held(source, z, min(z + SLAB, depth)) for z in range(0, depth, SLAB))


def _held(source: Source, z0: int, z1: int) -> int:
    """What a source holds beside slices z0 to z1 while they are read."""
    z, y, x = source.shape
    if isinstance(source, Crop):
        return _held_by_crop(source, z0, z1)
    if isinstance(source, ZarrScan):
        return reading_bytes(source.array, [Box((z0, 0, 0), (z1, y, x))])
    itk = sys.modules.get("xctvol.sources.itk")  # loaded where the source is one of its
    packed = itk is not None and isinstance(source, itk.Packed)
    return 2 * z * y * x * source.dtype.itemsize if packed else 0


def _held_by_crop(source: Crop, z0: int, z1: int) -> int:
    """Slices of all of the source in each thread, and what reading them takes."""
    first, plane = source.box.start[0], math.prod(source.source.shape[1:]) * source.dtype.itemsize
    whole = source.shape[1:] == source.source.shape[1:]
    step = z1 - z0 if whole else max(1, _CROP_BATCH_BYTES // plane)
    reads = (
        _held(source.source, first + z, first + min(z + step, z1)) for z in range(z0, z1, step)
    )
    return max(reads) + thread_budget() * max(plane, _CROP_BATCH_BYTES)


def _are_apart(source: Source) -> bool:
    if isinstance(source, Crop):
        return _are_apart(source.source)
    return len(source.files) in (0, source.shape[0])


@dataclass(frozen=True)
class FileStates:
    """Name, size and time of files, by path, as they were at one moment."""

    states: Mapping[str, Any]

    @classmethod
    def of(cls, files: tuple[Path, ...]) -> Self:
        """As they are now; raises InputError for a file that is not there any more."""
        states = {}
        for path in files:
            with readable(path):
                states[str(path)] = file_identity(path)
        return cls(states)

    @property
    def newest_ns(self) -> int:
        """When the last of them changed, or 0 without files."""
        return max((time_ns for _, _, time_ns in self.states.values()), default=0)

    def refuse_changed_since(self, newest_ns: int) -> None:
        """Raise InputError for a file that is newer than all were when the work was planned."""
        for path, (_, _, time_ns) in self.states.items():
            if time_ns > newest_ns:
                raise _changed(path)

    def refuse_other(self, before: "FileStates") -> None:
        """Raise InputError for a file that is not as it was before."""
        changed = self.changed(before)
        if changed:
            raise _changed(changed[0])

    def changed(self, before: "FileStates") -> list[str]:
        """Paths of the files that are not as they were before; unknown ones do not count."""
        known = before.states
        return [path for path, now in self.states.items() if known.get(path, now) != now]


def refuse_changed(source: Source, files: FileStates, identity: Any) -> None:
    """Raise InputError, with a name, where the source is not what it was."""
    FileStates.of(source.files).refuse_other(files)
    if source.identity() != identity:
        raise _changed(str(source.files[0]))


def _changed(path: str) -> InputError:
    return InputError(
        f"{path} changed while the scan was converted, so slices of two scans would be mixed; "
        "what is finished is not used any more: convert again with --overwrite when the scan is "
        "complete"
    )
