"""Files whose slices lie uncompressed in them: raw, .npy, and many TIFFs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xctvol.errors import InputError
from xctvol.grid import Index3
from xctvol.sources.base import (
    GREY_KINDS,
    Pixels,
    check_target,
    describe_pixels,
    describe_spacing,
    files_identity,
    read_exactly,
    readable,
)
from xctvol.units import Spacing

__all__ = ["Flat", "open_npy", "open_raw"]

_SHAPE = re.compile(r"(?<![0-9a-z])(\d+)x(\d+)x(\d+)(?![0-9a-z])")
_DTYPE = re.compile(r"(?<![a-z])(uint8|uint16|uint32|int8|int16|int32|float32|float64)(?![0-9])")
_BYTE_ORDER = re.compile(r"(?<![a-z])(le|be|little|big)(?:[-_ ]?endian)?(?![a-z])")
_ORDERS: dict[str, Literal["<", ">"]] = {"le": "<", "little": "<", "be": ">", "big": ">"}


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
            *self.notes,
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        read_exactly(self.path, list(zip(self.offsets[z0:z1], out, strict=True)))
        if not self.stored.isnative:
            out.byteswap(inplace=True)


def open_raw(path: Path, spacing: Spacing | None) -> Flat:
    """A headerless file named like sand_200x200x100_uint8.raw: sizes along x, y and z, dtype.

    More than one byte a voxel is little-endian unless the name says `be` or `big-endian`. Raises
    InputError where the name says no shape or dtype, or the file has another size.
    """
    name = path.stem.lower()
    sizes, kind, order = (pattern.search(name) for pattern in (_SHAPE, _DTYPE, _BYTE_ORDER))
    if sizes is None or kind is None:
        raise InputError(
            f"{path} has no header, and its name does not say what it holds; rename it with its "
            "sizes along x, y, z and its type, like scan_200x200x100_uint16.raw (big-endian: "
            "scan_200x200x100_uint16_be.raw)"
        )
    x, y, z = (int(size) for size in sizes.groups())
    stored = np.dtype(kind[1]).newbyteorder(_ORDERS[order[1]] if order else "<")
    notes: tuple[str, ...] = ()
    if stored.itemsize > 1 and order is None:
        notes = ("taken as little-endian, since the name does not say",)
    return _flat(path, (z, y, x), stored, 0, spacing, notes)


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
    if stored.kind not in GREY_KINDS:
        raise InputError(f"{path} holds {stored}; a scan has one whole or real number a voxel")
    if len(shape) not in (2, 3) or (fortran and len(shape) > 1):
        layout = "Fortran order" if fortran else "C order"
        raise InputError(
            f"{path} holds an array of shape {shape} in {layout}; a scan is (z, y, x) in C order: "
            "save numpy.ascontiguousarray of it"
        )
    z, y, x = (1, *shape) if len(shape) == 2 else shape
    return _flat(path, (z, y, x), stored, offset, spacing, ())


def _flat(
    path: Path,
    shape: Index3,
    stored: np.dtype[Any],
    offset: int,
    spacing: Spacing | None,
    notes: tuple[str, ...],
) -> Flat:
    z, y, x = shape
    slice_bytes = y * x * stored.itemsize
    with readable(path):
        size = path.stat().st_size
    if min(shape) < 1 or size != offset + z * slice_bytes:
        raise InputError(
            f"{path} has {size} bytes, but {z} x {y} x {x} voxels (z, y, x) of {stored.name} take "
            f"{offset + z * slice_bytes}; the shape or type is wrong, or the file was cut short"
        )
    offsets = range(offset, size, slice_bytes)
    return Flat(path, shape, stored, offsets, spacing, "given" if spacing else "", notes)
