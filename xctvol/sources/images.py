"""Images that Pillow reads (PNG and its like): slices of a stack; all single images and masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xctvol.errors import InputError
from xctvol.sources import pgm, tiff
from xctvol.sources.base import DEFLATE_DENSEST, Pixels, check_plausible, decoding, readable
from xctvol.sources.kinds import Kind, kind_of
from xctvol.sources.stack import Header, check_fits

__all__ = ["read_header", "read_image", "read_palette", "read_slice"]

# Slices of large detectors exceed Pillow's guard, which is meant for images from strangers.
Image.MAX_IMAGE_PIXELS = None

_GREY_MODES = {
    "1": np.uint8,
    "L": np.uint8,
    "I;16": np.uint16,
    "I;16B": np.uint16,
    "I;16L": np.uint16,
    "I": np.int32,
    "F": np.float32,
}


def read_header(path: Path) -> Header:
    """Shape, dtype and palette; raises InputError for colour and unreadable files."""
    with _opened(path) as image:
        return _header(path, image)


def read_slice(path: Path, out: Pixels) -> None:
    """Fill `out` (y, x) with grey values, or the numbers of a palette.

    Raises InputError where it does not fit.
    """
    with _opened(path) as image:
        check_fits(path, _header(path, image), out)
        out[...] = np.asarray(image)


def read_image(path: str | Path) -> Pixels:
    """A single image or mask, exactly as stored: no grey value or colour is changed.

    Returns (y, x) of any grey dtype, or (y, x, 3) uint8 for colours; the entries of a palette are
    its colours, and bilevel images hold 0 and 1. Raises InputError for several pages, transparent
    pixels, colours of more than 8 bits, and whatever is not an image.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind is Kind.TIFF:
        return tiff.read_any(path)
    if kind is Kind.PGM:
        return pgm.read(path)
    if kind is None or not kind.is_image:
        raise InputError(f"{path} is not an image that can be read; use PNG or TIFF")
    with _opened(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"{path} has several pages; a single image has one")
        if image.mode in _GREY_MODES:
            return np.asarray(image).astype(_GREY_MODES[image.mode], copy=True)
        return _colors(path, image)


def read_palette(path: str | Path) -> Pixels | None:
    """The stored numbers (y, x) of an image that `read_image` gives the palette's colours of.

    None for an image without palette. Programs that paint labels show colours and mean numbers.
    """
    path = Path(path)
    if kind_of(path) is Kind.TIFF:
        return tiff.read_palette(path)
    with _opened(path) as image:
        return np.asarray(image) if image.mode == "P" else None


def _colors(path: Path, image: Image.Image) -> Pixels:
    if image.mode not in ("P", "PA", "LA", "RGB", "RGBA"):
        raise InputError(f"{path} has the colour mode {image.mode}; save it as RGB or grey")
    rgba = np.asarray(image.convert("RGBA"))
    if rgba[..., 3].min() < 255:
        raise InputError(f"{path} is partly transparent; save it without an alpha channel")
    if image.mode == "LA":
        return np.ascontiguousarray(rgba[..., 0])
    return np.ascontiguousarray(rgba[..., :3])


def _header(path: Path, image: Image.Image) -> Header:
    dtype: Any = np.uint8 if image.mode == "P" else _GREY_MODES.get(image.mode)
    if dtype is None:
        raise InputError(
            f"{path} is a colour image (mode {image.mode}); a scan has one grey value a voxel"
        )
    shape, pages = (image.height, image.width), getattr(image, "n_frames", 1)
    header = Header(shape, np.dtype(dtype), pages, palette=_palette(image))
    check_plausible(path, image.height * image.width * header.dtype.itemsize, DEFLATE_DENSEST)
    return header


def _palette(image: Image.Image) -> bytes:
    """The colours that pixels are numbers of; empty where each number is its own grey value."""
    table = bytes(image.getpalette() or ()) if image.mode == "P" else b""
    return b"" if table == bytes(n // 3 for n in range(len(table))) else table


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with readable(path), open(path, "rb") as file, decoding(path), Image.open(file) as image:
        yield image
