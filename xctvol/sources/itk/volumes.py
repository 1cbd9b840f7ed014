"""NRRD, MetaImage and NIfTI: a whole scan in one file, or in a header and a file of pixels."""

import gzip
import threading
from dataclasses import dataclass, replace
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
            state = tuple(tuple(file_identity(path)) for path in self.files)
        with _LOCK:  # threads that come second find it unpacked
            whole = _unpacked(self.path, self.image_io, state)
        if whole.size != self.shape[0] * out[:1].size * bool(z1 - z0) and z0 < z1:
            raise InputError("")
        out[...] = whole.reshape(self.shape)[z0:z1]
