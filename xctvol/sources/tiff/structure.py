"""The structure of a TIFF file: its pages, what they hold, and whether all of it is there."""

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tifffile import TiffFile, TiffPage

from xctvol.errors import InputError
from xctvol.sources.base import DEFLATE_DENSEST, check_plausible, decoding, is_grey, readable
from xctvol.sources.tiff.pixels import is_plain

__all__ = [
    "PALETTE",
    "check_alike",
    "check_dense",
    "check_grey",
    "check_whole",
    "directories",
    "following",
    "named",
    "opened",
    "page_at",
    "palette_of",
]

# What tifffile logs is either harmless or raised below; applications may still listen to it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Photometric interpretations
_GREY = {0, 1}  # white or black is zero
PALETTE = 3

# Bytes of pixels that a stored byte stands for at best, by the number of the compression.
_DENSEST = {
    1: 8,  # none, of bits
    5: 1400,  # LZW: each of 4000 codes of 12 bits stands for one byte more than the one before
    8: DEFLATE_DENSEST,
    32773: 64,  # PackBits: 128 in two
    32946: DEFLATE_DENSEST,
}
_DENSEST_OF_OTHERS = 1 << 16


@contextmanager
def opened(path: Path) -> Iterator[TiffFile]:
    """The open file; all failures to read it become InputErrors."""
    with readable(path), open(path, "rb") as file:
        with named(path):
            tiff = TiffFile(file, name=path.name)
        yield tiff


def named(path: Path, number: int | None = None) -> AbstractContextManager[None]:
    """Turn whatever a decoder raises into an InputError naming the file and the page."""
    return decoding(path if number is None else f"{path}, page {number + 1}")


def directories(path: Path) -> tuple[int, ...]:
    """Offsets of the page directories; raises InputError where their chain is broken.

    tifffile ends a broken chain silently, which would make a cut file a shorter scan.
    """
    found: dict[int, None] = {}
    with readable(path), open(path, "rb") as file:
        try:
            for offset in _chain(file):
                if offset in found:
                    raise InputError(f"{path}: its pages form a circle; the file is damaged")
                found[offset] = None
        except (struct.error, OverflowError, ValueError):
            raise InputError(
                f"{path} was cut short: it ends before page {len(found) + 1}; copy it again"
            ) from None
    if not found:
        raise InputError(f"{path} has no pages; it was cut short or never finished")
    return tuple(found)


def _chain(file: BinaryIO) -> Iterator[int]:
    """Offset of one page directory after the other; struct.error where the file ends early."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    count_format, link_format, entry_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
    (offset,) = struct.unpack_from(order + link_format, head, 8 if big else 4)
    while offset:
        file.seek(offset)
        (entries,) = struct.unpack(order + count_format, file.read(struct.calcsize(count_format)))
        file.seek(offset + struct.calcsize(count_format) + entries * entry_bytes)
        link = file.read(struct.calcsize(link_format))
        yield offset
        (offset,) = struct.unpack(order + link_format, link)


def page_at(tiff: TiffFile, directory: int, number: int) -> TiffPage:
    tiff.filehandle.seek(directory)
    return TiffPage(tiff, number)


def check_grey(path: Path, page: TiffPage, number: int = 0) -> None:
    """Refuse a page that is no plane of grey values, or that lacks a part of them.

    The numbers of a palette pass: what they are good for, `palette_of` says.
    """
    where = f"{path}, page {number + 1}" if number else str(path)
    numbers = page.photometric == PALETTE and page.colormap is not None
    if page.samplesperpixel != 1 or not (numbers or page.photometric in _GREY):
        raise InputError(f"{where} is a colour image; a scan has one grey value a voxel")
    is_plane = page.dtype is not None and (page.dtype.kind == "b" or is_grey(page.dtype))
    if not is_plane or len(page.shape) != 2:
        raise InputError(
            f"{where} holds {page.shape} of {page.dtype or 'an unknown type'}; a slice is a plane "
            "of whole or real numbers"
        )
    check_whole(path, page, number)


def palette_of(page: TiffPage) -> bytes:
    """The colours that pixels are numbers of; empty for grey values, also with a palette of them.

    Such a palette rises evenly from black to white, in steps of 8 or of 16 bits.
    """
    if page.photometric != PALETTE:
        return b""
    table = np.asarray(page.colormap, np.uint16)
    ramp = np.linspace(0, 65535, table.shape[-1])
    return b"" if np.abs(table - ramp).max() < 257 else table.tobytes()


def check_whole(path: Path, page: TiffPage, number: int = 0) -> None:
    """Refuse a page of which a strip or tile is absent or ends beyond the end of the file."""
    check_dense(path, page)
    size = path.stat().st_size
    if len(page.dataoffsets) < math.prod(page.chunked) or not all(page.databytecounts):
        raise InputError(f"{path}, page {number + 1} lacks a part of its pixels; copy it again")
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    end = page.dataoffsets[0] + page.nbytes if is_plain(page) else max(ends)
    if end > size:
        raise InputError(
            f"{path} was cut short: page {number + 1} goes to byte {end}, but the file has {size}; "
            "copy it again"
        )


def check_dense(path: Path, page: TiffPage, pages: int = 1) -> None:
    """Refuse `pages` like this one, or a strip or tile, of more pixels than the file can hold."""
    part = math.prod(page.chunks) * (page.dtype.itemsize if page.dtype else 1)
    densest = _DENSEST.get(page.compression, _DENSEST_OF_OTHERS)
    check_plausible(path, max(page.nbytes * pages, part), densest)


def check_alike(path: Path, first: TiffPage, page: TiffPage, number: int) -> None:
    """Refuse a page of another shape, dtype or palette than the first."""
    if (page.shape, page.dtype) != (first.shape, first.dtype):
        raise InputError(
            f"{path}: page {number + 1} holds {page.shape} pixels (y, x) of {page.dtype}, but "
            f"page 1 {first.shape} of {first.dtype}; all slices of a scan must be alike"
        )
    if palette_of(page) != palette_of(first):
        raise InputError(
            f"{path}: page {number + 1} has another palette than page 1, so that the same number "
            "stands for two colours; save all slices with one palette, or as grey"
        )


def following(path: Path, start: int, count: int, slice_bytes: int) -> range:
    """Offsets of `count` slices that follow each other from `start` on, all within the file."""
    there = (path.stat().st_size - start) // slice_bytes
    if there < count:
        raise InputError(
            f"{path} was cut short: it says that it has {count} slices, but {there} fit into it; "
            "copy it again"
        )
    return range(start, start + count * slice_bytes, slice_bytes)
