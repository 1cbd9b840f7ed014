"""NRRD, MetaImage and NIfTI: a whole scan in one file, or in a header and a file of pixels."""

import gzip
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.errors import InputError
from xctvol.grid import Index3
from xctvol.journal import file_identity
from xctvol.sources.base import (
    DEFLATE_DENSEST,
    Pixels,
    check_plausible,
    check_target,
    decoding,
    describe_pixels,
    describe_spacing,
    file_bytes,
    files_identity,
    readable,
)
from xctvol.sources.flat import Flat
from xctvol.sources.itk.images import ItkHeader, read_header, read_pixels
from xctvol.sources.itk.places import Place, find_place
from xctvol.sources.kinds import Kind
from xctvol.sources.tags import stated_spacing
from xctvol.units import Spacing, format_bytes

__all__ = ["LARGEST_PACKED_BYTES", "Packed", "open_image"]

LARGEST_PACKED_BYTES = 4 << 30
"""Most that is unpacked as one piece: every process that reads such a scan holds all of it."""

_IMAGE_IO = {Kind.NRRD: "NrrdImageIO", Kind.META: "MetaImageIO", Kind.NIFTI: "NiftiImageIO"}
_CHUNK_BYTES = 1 << 20
_MILLIMETRES = ("mm", "mm", "mm")


@dataclass(frozen=True)
class Packed:
    """A source that can only be decoded as a whole, once in each process that reads it."""

    path: Path
    files: tuple[Path, ...]
    image_io: str
    shape: Index3
    dtype: np.dtype[Any]
    spacing: Spacing | None
    spacing_origin: str

    def identity(self) -> Any:
        return files_identity(self.files)

    def summary(self) -> tuple[str, ...]:
        size = format_bytes(self.shape[0] * self.shape[1] * self.shape[2] * self.dtype.itemsize)
        return (
            str(self.path),
            describe_pixels(self.shape, self.dtype),
            describe_spacing(self.spacing, self.spacing_origin),
            f"packed as one piece: every process that reads it holds all of it, {size}",
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        with readable(self.path):
            state = tuple(str(file_identity(path)) for path in self.files)
        with _LOCK:  # threads that come second find it unpacked
            whole = _unpacked(self.path, self.image_io, state)
        if whole.shape != self.shape or whole.dtype != self.dtype:
            raise InputError(
                f"{self.path} now holds {whole.shape} of {whole.dtype}; do not change it meanwhile"
            )
        out[...] = whole[z0:z1]


_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _unpacked(path: Path, image_io: str, state: tuple[str, ...]) -> Pixels:
    """All voxels (z, y, x) of the files in that state: others are unpacked anew."""
    if path.suffix == ".gz":
        _check_gzip(path)
    whole = read_pixels(path, image_io)
    return whole.reshape((-1, *whole.shape[-2:]))


def _check_gzip(path: Path) -> None:
    """Read to the end and compare the checksum: SimpleITK takes what is missing for zeros."""
    with decoding(path), gzip.open(path) as file:
        while file.read(_CHUNK_BYTES):
            pass


def open_image(kind: Kind, path: Path, spacing: Spacing | None) -> Flat | Packed:
    """A scan in one file; read slice by slice where it is not compressed.

    Raises InputError for several times or channels, for what is shorter than its header says, and
    for more than LARGEST_PACKED_BYTES in one compressed piece.
    """
    place = find_place(kind, path)
    header = read_header(path, _IMAGE_IO[kind])
    origin = "given"
    if spacing is None:
        spacing, origin = _stated(kind, path, place, header)
    if place.offset is not None:
        return _flat(path, place, header, spacing, origin)
    _check_packed(place.path, header)
    files = tuple(dict.fromkeys((path, place.path)))
    return Packed(path, files, _IMAGE_IO[kind], header.shape, header.dtype, spacing, origin)


def _flat(
    path: Path, place: Place, header: ItkHeader, spacing: Spacing | None, origin: str
) -> Flat:
    """The slices one after the other, where all of them are there."""
    assert place.offset is not None
    size, slice_bytes = file_bytes(place.path), header.nbytes // header.shape[0]
    start = place.offset if place.offset >= 0 else size - header.nbytes
    if start < 0 or start + header.nbytes > size:
        raise InputError(
            f"{place.path} was cut short: {header.nbytes} bytes of pixels from byte "
            f"{max(start, 0)} on do not fit into its {size}; copy it again"
        )
    offsets = range(start, start + header.nbytes, slice_bytes)
    stored = header.dtype.newbyteorder(place.order)
    notes = (f"as {path.name} describes it",) if path != place.path else ()
    return Flat(place.path, header.shape, stored, offsets, spacing, origin, notes)


def _check_packed(path: Path, header: ItkHeader) -> None:
    check_plausible(path, header.nbytes, DEFLATE_DENSEST)
    if header.nbytes > LARGEST_PACKED_BYTES:
        raise InputError(
            f"{path} unpacks to {format_bytes(header.nbytes)} in one piece, which every process "
            f"would have to hold; more than {format_bytes(LARGEST_PACKED_BYTES)} is not read so: "
            "save it without compression"
        )


def _stated(kind: Kind, path: Path, place: Place, header: ItkHeader) -> tuple[Spacing | None, str]:
    """The voxel size of the header; 1 without unit is what writers put where they know none."""
    units = place.units
    if int(header.tags.get("xyzt_units") or 0) & 7:  # NIfTI's: SimpleITK has turned them into mm
        units = _MILLIMETRES
    if not place.has_spacing or (not units and header.spacing == (1, 1, 1)):
        return None, ""
    spacing = stated_spacing(header.spacing, units or _MILLIMETRES)
    remark = "" if units else "; taken to be in mm"
    return spacing, f"{kind.value} header of {path.name}{remark}" if spacing else ""
