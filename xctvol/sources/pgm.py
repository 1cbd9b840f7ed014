"""PGM images, binary (P5) and in digits (P2): samples as they are stored, whatever their largest.

Other readers stretch samples to 8 or 16 bits where the largest is neither 255 nor 65535. Then a
mask of 0 to 3 holds other numbers, and a detector of 12 bits other grey values.
Format: https://netpbm.sourceforge.net/doc/pgm.html
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xctvol.errors import InputError
from xctvol.sources.base import Pixels, decoding, file_bytes, read_exactly, readable
from xctvol.sources.stack import Header, check_fits

__all__ = ["read", "read_header", "read_slice"]

_HEADER_BYTES = 1 << 16  # more than any header; pixels may follow
_COMMENT = rb"#[^\r\n]*"
_GAP = rb"(?:\s|" + _COMMENT + rb"[\r\n])+"
_HEADER = re.compile(
    rb"(P[25])" + 3 * (_GAP + rb"([0-9]{1,9})") + rb"(?:" + _COMMENT + rb")?\s"
)  # width, height, largest sample
_NO_NUMBERS = re.compile(rb"[^0-9\s]")


@dataclass(frozen=True)
class _Start:
    """What the header says; samples follow from byte `offset` on."""

    header: Header
    offset: int
    largest: int
    in_digits: bool

    @property
    def pixels(self) -> int:
        return self.header.shape[0] * self.header.shape[1]


def read_header(path: Path) -> Header:
    """Shape and dtype; raises InputError for damaged files, and for several images in one."""
    return _start(path).header


def read_slice(path: Path, out: Pixels) -> None:
    """Fill `out` (y, x) with the samples; raises InputError where they do not fit."""
    start = _start(path)
    check_fits(path, start.header, out)
    _fill(path, start, out)


def read(path: Path) -> Pixels:
    """The samples (y, x), uint8 or uint16."""
    start = _start(path)
    out = np.empty(start.header.shape, start.header.dtype)
    _fill(path, start, out)
    return out


def _start(path: Path) -> _Start:
    with readable(path), open(path, "rb") as file:
        found = _HEADER.match(file.read(_HEADER_BYTES))
    if found is None:
        raise InputError(f"{path} is damaged: it does not begin as a PGM image does")
    width, height, largest = (int(number) for number in found.groups()[1:])
    if min(width, height) < 1 or not 1 <= largest <= np.iinfo(np.uint16).max:
        raise InputError(
            f"{path} is damaged: it says that it has {height} x {width} pixels (y, x) of up to "
            f"{largest}"
        )
    dtype = np.dtype(np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16)
    start = _Start(Header((height, width), dtype), found.end(), largest, found[1] == b"P2")
    _check_size(path, start)
    return start


def _check_size(path: Path, start: _Start) -> None:
    """Refuse a file that ends before its last sample, or goes on with another image."""
    each = 2 if start.in_digits else start.header.dtype.itemsize  # a digit, and what ends it
    end, size = start.offset + each * start.pixels, file_bytes(path)
    if size < end - start.in_digits:  # nothing need end the last digit
        raise InputError(
            f"{path} was cut short: {start.header} go to byte {end} at least, but the file has "
            f"{size}; copy it again"
        )
    if not start.in_digits:
        with readable(path), open(path, "rb") as file:
            file.seek(end)
            if file.read(2) == b"P5":
                raise InputError(f"{path} holds several images; save each as a file of its own")


def _fill(path: Path, start: _Start, out: Pixels) -> None:
    if start.in_digits:
        out[...] = _from_digits(path, start).reshape(out.shape)
        return
    read_exactly(path, [(start.offset, out)])
    if not np.dtype(">u2").isnative:  # byte order of the format
        out.byteswap(inplace=True)


def _from_digits(path: Path, start: _Start) -> Pixels:
    with readable(path):
        text = re.sub(_COMMENT, b"", path.read_bytes()[start.offset :])
    with decoding(path):
        if _NO_NUMBERS.search(text):
            raise InputError(f"{path} is damaged: it holds other things than numbers")
        samples = np.fromiter(map(int, text.split()), np.int64)
    if len(samples) != start.pixels or samples.max() > start.largest:
        raise InputError(
            f"{path} is damaged: it should hold {start.pixels} numbers of up to {start.largest}, "
            f"and holds {len(samples)} of up to {samples.max(initial=0)}; copy it again"
        )
    return samples
