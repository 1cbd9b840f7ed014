"""The pixels of one TIFF page: straight from the file where they lie plain in it, or decoded."""

import math
import sys
import zlib
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPage

from xctvol.errors import InputError
from xctvol.sources.base import Pixels, read_exactly

__all__ = ["decode", "grey_dtype", "is_plain", "read_page"]

_UNCOMPRESSED = 1
_DEFLATE = {8, 32946}


def is_plain(page: TiffPage) -> bool:
    """Whether the page's pixels are consecutive bytes of the file, up to byte order."""
    return bool(
        page.compression == _UNCOMPRESSED
        and page.is_final
        and page.dtype is not None
        and page.bitspersample == 8 * page.dtype.itemsize
    )


def grey_dtype(page: TiffPage) -> np.dtype[np.generic]:
    """Dtype of the page's grey values in memory."""
    return np.dtype(np.uint8) if page.dtype == np.bool_ else np.dtype(page.dtype)


def read_page(path: Path, tiff: TiffFile, page: TiffPage, out: Pixels) -> None:
    """Fill `out` (y, x) in native byte order; raises InputError where the page does not fit."""
    if page.shape != out.shape or grey_dtype(page) != out.dtype:
        raise InputError(
            f"{path} holds {page.shape} pixels (y, x) of {grey_dtype(page)}, but {out.shape} of "
            f"{out.dtype} were found when the scan was opened; do not change it meanwhile"
        )
    if not is_plain(page):
        out[...] = decode(tiff, page)
        return
    read_exactly(path, [(page.dataoffsets[0], out)])
    if out.itemsize > 1 and (tiff.byteorder == "<") != (sys.byteorder == "little"):
        out.byteswap(inplace=True)


def decode(tiff: TiffFile, page: TiffPage) -> Pixels:
    """The page as an array; raises whatever its decoder raises."""
    try:
        return page.asarray(maxworkers=1)  # callers read several slices at a time
    except Exception:
        if page.compression not in _DEFLATE or page.samplesperpixel != 1:
            raise
        return _decode_padded(tiff, page)


def _decode_padded(tiff: TiffFile, page: TiffPage) -> Pixels:
    """Decode deflated segments that unpack to more bytes than they should hold.

    Some writers pad the last strip to full height, which strict decoders refuse. Each segment is
    unpacked, cut, and handed on as if it had been stored so.
    """
    out = np.empty(page.shape, page.dtype)
    segments = zip(page.dataoffsets, page.databytecounts, strict=True)
    for index, (offset, count) in enumerate(segments):
        tiff.filehandle.seek(offset)
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(tiff.filehandle.read(count))
        if not unpacker.eof:
            raise zlib.error("a part of the pixels ends early")
        _, (_, _, y, x, _), shape = page.decode(None, index)
        size = math.prod(shape) * page.bitspersample // 8
        segment, _, _ = page.decode(zlib.compress(unpacked[:size], 0), index)
        assert segment is not None
        target = out[y : y + shape[1], x : x + shape[2]]
        target[...] = segment[0, : target.shape[0], : target.shape[1], 0]
    return out
