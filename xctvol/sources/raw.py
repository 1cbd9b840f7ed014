"""Headerless files: what they hold is said by their name, or by whoever opens them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xctvol.errors import InputError, UsageError
from xctvol.grid import Index3
from xctvol.sources.base import file_bytes
from xctvol.sources.flat import Flat, flat
from xctvol.units import Spacing

__all__ = ["RawLayout", "open_raw"]

ByteOrder = Literal["little", "big"]

_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
_SHAPE = re.compile(r"(?<![0-9a-z])(\d+)x(\d+)x(\d+)(?![0-9a-z])")
_DTYPE = re.compile(rf"(?<![a-z])({'|'.join(_DTYPES)})(?![0-9])")
_BYTE_ORDER = re.compile(r"(?<![a-z])(le|be|little|big)(?:[-_ ]?endian)?(?![a-z])")
_ORDERS: dict[str, ByteOrder] = {"le": "little", "little": "little", "be": "big", "big": "big"}


@dataclass(frozen=True)
class RawLayout:
    """What a headerless file holds: `shape` (z, y, x) voxels of `dtype` from byte `offset` on.

    `dtype` is a name such as uint16. Raises UsageError for what no scan can be.
    """

    shape: Index3
    dtype: str
    byteorder: ByteOrder = "little"
    offset: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1 or self.offset < 0:
            raise UsageError(
                f"a raw file of shape {self.shape} from byte {self.offset} on is not possible: "
                "give the numbers of slices, rows and columns (z, y, x), and an offset from 0 on"
            )
        if self.dtype not in _DTYPES:
            raise UsageError(f"a raw file of {self.dtype!r} is not read; use {', '.join(_DTYPES)}")
        if self.byteorder not in ("little", "big"):
            raise UsageError(f"the byte order {self.byteorder!r} is neither 'little' nor 'big'")

    @property
    def stored(self) -> np.dtype[Any]:
        """Dtype in the file, in its byte order."""
        return np.dtype(self.dtype).newbyteorder("<" if self.byteorder == "little" else ">")

    @property
    def slice_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self.stored.itemsize


def open_raw(path: Path, spacing: Spacing | None, layout: RawLayout | None = None) -> Flat:
    """A headerless file, of `layout` or as its name says: sand_200x200x100_uint8.raw.

    Names give sizes along x, y and z, and the dtype; more than one byte a voxel is little-endian
    unless the name says `be` or `big-endian`. Raises InputError where the name says no shape or
    dtype, or the file has another size.
    """
    notes: tuple[str, ...] = ()
    if layout is None:
        layout, notes = _from_name(path)
    return flat(
        path, layout.shape, layout.stored, layout.offset, spacing, notes, _hint(layout, path)
    )


def _from_name(path: Path) -> tuple[RawLayout, tuple[str, ...]]:
    """The layout that the name says, and what it leaves open."""
    name = path.stem.lower()
    sizes, kind, order = (pattern.search(name) for pattern in (_SHAPE, _DTYPE, _BYTE_ORDER))
    if sizes is None or kind is None:
        raise InputError(
            f"{path} has no header, and its name does not say what it holds; rename it with its "
            "sizes along x, y, z and its type, like scan_200x200x100_uint16.raw (big-endian: "
            "scan_200x200x100_uint16_be.raw)"
        )
    x, y, z = (int(size) for size in sizes.groups())
    if min(x, y, z) < 1:
        raise InputError(f"{path}: its name says that it has {x} x {y} x {z} voxels, which is none")
    layout = RawLayout((z, y, x), kind[1], _ORDERS[order[1]] if order else "little")
    if layout.stored.itemsize > 1 and order is None:
        return layout, ("taken as little-endian, since the name does not say",)
    return layout, ()


def _hint(layout: RawLayout, path: Path) -> str:
    """The nearest layout that would have the size of the file, where there is one."""
    z, y, x = layout.shape
    pixel_bytes = file_bytes(path) - layout.offset
    for name in _DTYPES:
        if z * y * x * np.dtype(name).itemsize == pixel_bytes:
            return f"; with this shape it could be {name}"
    if pixel_bytes > 0 and pixel_bytes % layout.slice_bytes == 0:
        return f"; it could be {pixel_bytes // layout.slice_bytes} such slices"
    rest = pixel_bytes - z * layout.slice_bytes
    if 0 < rest < layout.slice_bytes:
        return f"; there could be a header: offset {layout.offset + rest}"
    return ""
