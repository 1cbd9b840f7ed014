"""Masks decoded exactly: each pixel has the value of one material, or the mask is refused.

Rounding to the nearest value would turn the soft edges of a resized or smoothed mask into thin
lines of whatever material lies between two others on the grey scale.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.annotations.base import IGNORE, Indices, Size, check_size
from xctvol.errors import InputError, shortened
from xctvol.materials import MaskValue, Materials
from xctvol.sources.images import read_image, read_palette

__all__ = ["Mask", "decode_mask", "decode_values"]


@dataclass(frozen=True)
class Mask:
    """An image whose values name materials; those in `ignore`, if given, show none here.

    In an image with a palette, they are its colours, as people see them; where the materials do not
    know these, the numbers that it stores, as programs that paint labels count them.
    """

    path: Path
    ignore: tuple[MaskValue, ...] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, size: Size, materials: Materials) -> Indices:
        mask = read_image(self.path)
        check_size(self.path, (mask.shape[0], mask.shape[1]), size)
        try:
            return decode_mask(mask, materials, self.ignore)
        except InputError as error:
            numbers = read_palette(self.path)
            if numbers is not None:
                with suppress(InputError):
                    return decode_mask(numbers, materials, self.ignore)
            raise InputError(f"{self.path}: {error}") from None


def decode_mask(
    mask: NDArray[Any], materials: Materials, ignore: tuple[MaskValue, ...] | None = None
) -> Indices:
    """Index into `materials` of each pixel: (y, x) grey or (y, x, 3) uint8 colour -> (y, x).

    A grey value and the colour with that value in all channels are the same. Values in `ignore`,
    by default those of the materials, become IGNORE, even if a material has them too. Raises
    InputError for values that belong to no material, with their counts.
    """
    left_out = materials.ignore if ignore is None else ignore
    shown = ((v, index) for index, material in enumerate(materials) for v in material.mask)
    return decode_values(mask, [*shown, *((value, IGNORE) for value in left_out)])


def decode_values(mask: NDArray[Any], table: Iterable[tuple[MaskValue, int]]) -> Indices:
    """The number that `table` gives to each pixel's value; of a value's numbers the last.

    Raises InputError for values that the table does not have, with their counts.
    """
    codes = _codes(mask)
    indices = np.zeros(codes.shape, np.uint8)
    known = np.zeros(codes.shape, bool)
    for value, index in table:
        code = _code(value, mask.ndim)
        if code is not None:
            here = codes == code
            indices[here] = index
            known |= here
    if not known.all():
        raise InputError(_unknown_values(codes[~known], mask))
    return indices


def _codes(mask: NDArray[Any]) -> NDArray[Any]:
    """One whole number a pixel: its grey value, or 0xRRGGBB."""
    if mask.dtype.kind not in "uib":
        raise InputError(
            f"its values are {mask.dtype}, not whole numbers, so they cannot name materials; "
            "save the mask with 8 or 16 bits"
        )
    if mask.ndim == 2:
        return mask.astype(np.uint8) if mask.dtype.kind == "b" else mask
    red, green, blue = np.moveaxis(mask.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def _code(value: MaskValue, ndim: int) -> int | None:
    """The code of a material's value in a grey (2) or colour (3) mask; None where it has none."""
    if ndim == 2:
        return value[0] if len(set(value)) == 1 else None
    red, green, blue = value * 3 if len(value) == 1 else value
    return red << 16 | green << 8 | blue if red <= 255 else None


def _unknown_values(unknown: NDArray[Any], mask: NDArray[Any]) -> str:
    values, counts = np.unique(unknown, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = shortened(order.tolist(), lambda i: f"{_written(values[i], mask.ndim)} ({counts[i]})")
    plural = "value belongs" if len(values) == 1 else "values belong"
    return (
        f"{len(values)} {plural} to no material (pixels in brackets): {shown}; add them to "
        "the materials, or correct the mask (soft edges come from resizing, smoothing or JPEG); "
        "values of pixels without annotation are named by `ignore`"
    )


def _written(code: Any, ndim: int) -> str:
    code = int(code)
    return str(code) if ndim == 2 else f"[{code >> 16}, {code >> 8 & 255}, {code & 255}]"
