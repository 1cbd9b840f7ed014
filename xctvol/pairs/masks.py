"""Masks decoded exactly: each pixel has the value of one material, or the mask is refused.

Rounding to the nearest value would turn the soft edges of a resized or smoothed mask into thin
lines of whatever material lies between two others on the grey scale.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.materials import MaskValue, Materials

__all__ = ["IGNORE", "decode_mask"]

IGNORE = 255
"""Index of pixels without annotation: they neither train nor score."""

_SHOWN = 12  # unknown values in a message


def decode_mask(mask: NDArray[Any], materials: Materials) -> NDArray[np.uint8]:
    """Index into `materials` of each pixel: (y, x) grey or (y, x, 3) uint8 colour -> (y, x).

    A grey value and the colour with that value in all channels are the same. Raises InputError
    for values that belong to no material, with their counts.
    """
    codes = _codes(mask)
    indices = np.full(codes.shape, IGNORE, np.uint8)
    for index, material in enumerate(materials):
        for value in material.mask:
            code = _code(value, mask.ndim)
            if code is not None:
                indices[codes == code] = index
    unknown = codes[indices == IGNORE]
    if unknown.size:
        raise InputError(_unknown_values(unknown, mask))
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
    shown = ", ".join(f"{_written(values[i], mask.ndim)} ({counts[i]})" for i in order[:_SHOWN])
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    plural = "value belongs" if len(values) == 1 else "values belong"
    return (
        f"{len(values)} {plural} to no material (pixels in brackets): {shown}{more}; add them to "
        "the materials, or correct the mask (soft edges come from resizing, smoothing or JPEG)"
    )


def _written(code: Any, ndim: int) -> str:
    code = int(code)
    return str(code) if ndim == 2 else f"[{code >> 16}, {code >> 8 & 255}, {code & 255}]"
