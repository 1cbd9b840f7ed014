"""TIFF files as slices of a stack, as whole volumes, and as single images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffPage

from xctvol.errors import InputError
from xctvol.grid import Index3
from xctvol.sources.base import (
    Pixels,
    check_target,
    describe_palette,
    describe_pixels,
    describe_spacing,
    files_identity,
)
from xctvol.sources.flat import Flat
from xctvol.sources.stack import Header
from xctvol.sources.tiff.metadata import declared_slices, imagej_images, stated_spacing
from xctvol.sources.tiff.pixels import decode, grey_dtype, is_plain, read_page
from xctvol.sources.tiff.structure import (
    PALETTE,
    check_alike,
    check_dense,
    check_grey,
    check_whole,
    directories,
    following,
    named,
    opened,
    page_at,
    palette_of,
)
from xctvol.units import Spacing

__all__ = ["PagedTiff", "open_pages", "read_any", "read_header", "read_palette", "read_slice"]

_RGB = 2  # photometric interpretation


@dataclass(frozen=True)
class PagedTiff:
    """A source whose slices are the pages of one TIFF file, compressed ones included.

    `directories` holds the offset of each page's directory, so that any page is found at once.
    """

    path: Path
    shape: Index3
    dtype: np.dtype[Any]
    directories: tuple[int, ...] = field(repr=False)
    spacing: Spacing | None = None
    spacing_origin: str = ""
    palette: bool = False

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
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        with opened(self.path) as tiff:
            for z, target in zip(range(z0, z1), out, strict=True):
                with named(self.path, z):
                    read_page(self.path, tiff, page_at(tiff, self.directories[z], z), target)


def open_pages(path: Path, spacing: Spacing | None) -> PagedTiff | Flat:
    """All pages of one file as the slices of a scan; raises InputError where they differ."""
    chain = directories(path)
    with opened(path) as tiff:
        first, starts = None, []
        for number, offset in enumerate(chain):
            with named(path, number):
                page = page_at(tiff, offset, number)
                check_grey(path, page, number)
                first = first or page
                check_alike(path, first, page, number)
                starts += [page.dataoffsets[0]] if is_plain(page) else []
        assert first is not None
        with named(path):
            origin = "given"
            if spacing is None:
                spacing, origin = stated_spacing(path, tiff, first)
            count = declared_slices(path, tiff, first, len(chain))
        check_dense(path, first, count)
        y, x = first.shape
        dtype, palette = grey_dtype(first), bool(palette_of(first))
        if len(starts) < len(chain):
            return PagedTiff(path, (count, y, x), dtype, chain, spacing, origin, palette)
        stored = dtype.newbyteorder(tiff.byteorder)
    offsets: Sequence[int] = tuple(starts)
    if count > len(starts):
        offsets = following(path, starts[0], count, first.nbytes)
    return Flat(path, (count, y, x), stored, offsets, spacing, origin, palette=palette)


def read_header(path: Path) -> Header:
    """Shape, dtype, pages, voxel size, palette; raises InputError for colour and cut files."""
    chain = directories(path)
    with opened(path) as tiff, named(path):
        page = tiff.pages.first
        check_grey(path, page)
        spacing, origin = stated_spacing(path, tiff, page)
        y, x = page.shape
        pages = max(len(chain), imagej_images(tiff))
        return Header((y, x), grey_dtype(page), pages, spacing, origin, palette_of(page))


def read_slice(path: Path, out: Pixels) -> None:
    """Fill `out` (y, x) with the first page; raises InputError where it does not fit."""
    with opened(path) as tiff, named(path):
        page = tiff.pages.first
        check_grey(path, page)
        read_page(path, tiff, page, out)


def read_any(path: Path) -> Pixels:
    """A single image: grey (y, x) of any dtype, or colours, palettes included, (y, x, 3) uint8."""
    if len(directories(path)) > 1:
        raise InputError(f"{path} has several pages; a single image has one")
    with opened(path) as tiff, named(path):
        page = tiff.pages.first
        check_whole(path, page)
        if page.photometric == PALETTE and page.colormap is not None:
            table = (page.colormap.T >> 8).astype(np.uint8)  # its 16-bit entries repeat 8 bits
            return table[decode(tiff, page)]
        if page.photometric == _RGB:
            return _colors(path, page, decode(tiff, page))
        check_grey(path, page)
        out = np.empty(page.shape, grey_dtype(page))
        read_page(path, tiff, page, out)
        return out


def read_palette(path: Path) -> Pixels | None:
    """The stored numbers (y, x) of a single image with a palette; None for any other."""
    with opened(path) as tiff, named(path):
        page = tiff.pages.first
        check_whole(path, page)
        return decode(tiff, page) if page.photometric == PALETTE else None


def _colors(path: Path, page: TiffPage, pixels: Pixels) -> Pixels:
    if page.planarconfig != 1:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype != np.uint8:
        raise InputError(f"{path} has colours of {pixels.dtype}; only 8 bits a channel are read")
    if pixels.shape[-1] == 4 and pixels[..., 3].min() < 255:
        raise InputError(f"{path} is partly transparent; save it without an alpha channel")
    return np.ascontiguousarray(pixels[..., :3])
