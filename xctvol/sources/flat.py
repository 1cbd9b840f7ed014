"""Files whose slices lie uncompressed in them: raw, .npy, and many files of other formats."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.errors import InputError
from xctvol.grid import Index3
from xctvol.sources.base import (
    Pixels,
    check_target,
    describe_palette,
    describe_pixels,
    describe_spacing,
    file_bytes,
    files_identity,
    is_grey,
    read_exactly,
    readable,
)
from xctvol.units import Spacing

__all__ = ["Flat", "flat", "open_npy"]


@dataclass(frozen=True)
class Flat:
    """A source whose slice z is the bytes of one file from `offsets[z]` on.

    `stored` is the dtype in the file, in its byte order; slices come in native order.
    """

    path: Path
    shape: Index3
    stored: np.dtype[Any]
    offsets: Sequence[int] = field(repr=False)
    spacing: Spacing | None = None
    spacing_origin: str = ""
    notes: tuple[str, ...] = ()
    palette: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stored.newbyteorder("=")

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def identity(self) -> Any:
        return files_identity(self.files)

    def summary(self) -> tuple[str, ...]:
        return (
            str(self.path),
            describe_pixels(self.shape, self.dtype),
            describe_spacing(self.spacing, self.spacing_origin),
            *describe_palette(self),
            *self.notes,
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        read_exactly(self.path, list(zip(self.offsets[z0:z1], out, strict=True)))
        if not self.stored.isnative:
            out.byteswap(inplace=True)


def open_npy(path: Path, spacing: Spacing | None) -> Flat:
    """A .npy file of one slice (y, x) or a volume (z, y, x); raises InputError for others."""
    try:
        with readable(path), open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, stored = read(file)
            offset = file.tell()
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is not a .npy file of numbers: {error}") from error
    if not is_grey(stored):
        raise InputError(
            f"{path} holds {stored}; a scan has one whole or real number of at most 64 bits a voxel"
        )
    if len(shape) not in (2, 3) or (fortran and len(shape) > 1):
        layout = "Fortran order" if fortran else "C order"
        raise InputError(
            f"{path} holds an array of shape {shape} in {layout}; a scan is (z, y, x) in C order: "
            "save numpy.ascontiguousarray of it"
        )
    z, y, x = (1, *shape) if len(shape) == 2 else shape
    return flat(path, (z, y, x), stored, offset, spacing)


def flat(
    path: Path,
    shape: Index3,
    stored: np.dtype[Any],
    offset: int,
    spacing: Spacing | None,
    notes: tuple[str, ...] = (),
    hint: str = "",
) -> Flat:
    """A file of exactly `shape` voxels of `stored` after each other from `offset` on.

    Raises InputError for a file of another size; `hint` ends the message.
    """
    z, y, x = shape
    slice_bytes = y * x * stored.itemsize
    size = file_bytes(path)
    if min(shape) < 1 or size != offset + z * slice_bytes:
        beyond = f" from byte {offset} on" if offset else ""
        raise InputError(
            f"{path} has {size} bytes, but {z} x {y} x {x} voxels (z, y, x) of {stored.name}"
            f"{beyond} take {z * slice_bytes}; the shape or type is wrong, or the file was cut "
            f"short{hint}"
        )
    offsets = range(offset, size, slice_bytes)
    return Flat(path, shape, stored, offsets, spacing, "given" if spacing else "", notes)
