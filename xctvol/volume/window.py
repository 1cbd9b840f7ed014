"""Windows: one range of grey values for a whole scan, and the histogram it is chosen from.

A window maps original grey values onto 0..1 (or 0..255 when a volume is stored as uint8). It is
one range for all slices: a range per slice would make the same tissue another grey in each.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.volume.buffers import reused
from xctvol.volume.threads import in_threads

__all__ = ["Histogram", "Percentiles", "Window", "parse_window"]

_LOOKUP_VOXELS = 1 << 16  # fit into the processor's cache
_COUNTED_VOXELS = 1 << 18  # so many that adding up counts costs little
_BINNED_VOXELS = 1 << 20  # the same, of many more counts

_PAGE_BITS = 16  # of a key
_BIN_BITS = 20  # bins of all pages, at most: 8 MB
_SIGN = np.uint32(1 << 31)


@dataclass(frozen=True)
class Window:
    """The range `low`..`high` of original grey values; what lies outside is clipped."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise UsageError(
                f"the window {self.low:g},{self.high:g} is empty: its first number must be "
                "smaller than its second"
            )

    def to_uint8(self, grey: NDArray[Any], out: NDArray[np.uint8]) -> None:
        """Store original grey values as 0..255, to the nearest; NaN becomes 0."""
        if grey.dtype.kind in "ui" and grey.dtype.itemsize <= 2:
            keys, table = grey.view(f"u{grey.dtype.itemsize}"), _table(self, grey.dtype)
            for z, rows in _bands(grey.shape, _LOOKUP_VOXELS):
                np.take(table, keys[z, rows], out=out[z, rows], mode="clip")  # raise would copy
            return
        for plane, stored in zip(grey, out, strict=True):  # float temporaries of one slice only
            stored[...] = self._scaled(plane)

    def stored(self, grey: NDArray[Any]) -> NDArray[np.uint8]:
        """Like `to_uint8`, into memory that the next call in this thread will take."""
        out: NDArray[np.uint8] = reused("stored", grey.shape, np.uint8)
        in_threads(lambda z: self.to_uint8(grey[z : z + 1], out[z : z + 1]), range(len(grey)))
        return out

    def _scaled(self, grey: NDArray[Any]) -> NDArray[np.uint8]:
        scaled = (grey.astype(np.float64) - self.low) * 255.0 / (self.high - self.low)
        return np.rint(np.nan_to_num(np.clip(scaled, 0.0, 255.0), nan=0.0)).astype(np.uint8)

    def to_json(self) -> list[float]:
        return [self.low, self.high]

    @classmethod
    def from_json(cls, value: Any) -> Self:
        try:
            low, high = value
            return cls(float(low), float(high))
        except (TypeError, ValueError, UsageError) as error:
            raise InputError(f"{value!r} is not a window: {error}") from error

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Percentiles:
    """A window still to be found: the grey values below which so many per cent of voxels lie."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise UsageError(
                f"the window {self.low:g}%,{self.high:g}% is not possible: percentages rise "
                "from 0 to 100"
            )

    def __str__(self) -> str:
        return f"{self.low:g}%,{self.high:g}%"


def parse_window(text: str) -> Window | Percentiles | None:
    """Read a window as typed: none, MIN,MAX, or percentiles of the whole scan.

    >>> parse_window("0.1%,99.9%")
    Percentiles(low=0.1, high=99.9)
    """
    if text.strip().lower() == "none":
        return None
    match = re.fullmatch(r"\s*([-+0-9.eE]+)\s*(%?)\s*,\s*([-+0-9.eE]+)\s*(%?)\s*", text)
    try:
        if match is not None and match[2] == match[4]:
            kind = Percentiles if match[2] else Window
            return kind(float(match[1]), float(match[3]))
    except ValueError:  # not numbers after all; an impossible range is a UsageError of its own
        pass
    raise UsageError(
        f"cannot read the window {text!r}: write none, two grey values (0,40000), or two "
        "percentages (0.1%,99.9%)"
    )


@dataclass(frozen=True)
class Histogram:
    """Counts of grey values: of each for integers of up to 16 bits, else of bins.

    Wider types are counted by keys, whole numbers of 32 bits in the order of the grey values. The
    keys come in `pages` of 65536, and only pages that occur are counted, in bins as narrow as
    2^20 of them allow: of one key for 16 pages, of 4096 (0.05 % of a float32) for all there are.
    So a scan of values between 32768 and 32798 is counted exactly, a few zeros or not. Bins depend
    on nothing but the pages: histograms of parts add up to that of the whole, in any order.
    """

    dtype: np.dtype[Any]
    counts: NDArray[np.int64]
    pages: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, grey: NDArray[Any]) -> Self:
        """Histogram of an array; NaN and infinities are left out."""
        if not _has_keys(grey.dtype):
            return cls(grey.dtype, _counts_of_values(grey))
        seen = np.zeros(1 << _PAGE_BITS, np.int64)
        for keys in _keys_of(grey):
            seen += np.bincount(keys >> _PAGE_BITS, minlength=len(seen))
        pages = np.flatnonzero(seen)
        shift = _shift(len(pages))
        left_out = np.zeros(len(seen), np.int64)  # bins before a page, of pages that do not occur
        left_out[pages] = (pages - np.arange(len(pages))) << (_PAGE_BITS - shift)
        counts = np.zeros(len(pages) << (_PAGE_BITS - shift), np.int64)
        for keys in _keys_of(grey):
            places = (keys >> shift) - left_out[keys >> _PAGE_BITS]
            counts += np.bincount(places, minlength=len(counts))
        return cls(grey.dtype, counts, pages)

    @classmethod
    def load(cls, dtype: np.dtype[Any], file: BinaryIO) -> Self:
        """The histogram that `save` wrote."""
        counts = np.load(file)
        return cls(dtype, counts, np.load(file) if _has_keys(dtype) else None)

    def save(self, file: BinaryIO) -> None:
        np.save(file, self.counts)
        if self.pages is not None:
            np.save(file, self.pages)

    def stored(self, window: Window) -> list[int]:
        """How many voxels a window stores as each of 0..255; few numbers to keep for comparisons.

        For grey values that are counted in bins, those of a bin go where its lower edge goes.
        """
        occupied = np.flatnonzero(self.counts)
        values = self.values()[occupied].reshape(1, 1, -1)
        keys = np.empty(values.shape, np.uint8)
        window.to_uint8(values, keys)
        counts = np.zeros(256, np.int64)
        np.add.at(counts, keys.reshape(-1), self.counts[occupied])
        return [int(count) for count in counts]

    def __add__(self, other: "Histogram") -> "Histogram":
        assert self.dtype == other.dtype
        if self.pages is None or other.pages is None:
            return Histogram(self.dtype, self.counts + other.counts)
        pages = np.union1d(self.pages, other.pages)
        shift = _shift(len(pages))
        counts = np.zeros((len(pages), 1 << (_PAGE_BITS - shift)), np.int64)
        for part, own in ((self, self.pages), (other, other.pages)):
            fine = part.counts.reshape(len(own), counts.shape[1], 1 << (shift - _shift(len(own))))
            counts[np.searchsorted(pages, own)] += fine.sum(axis=2)
        return Histogram(self.dtype, counts.reshape(-1), pages)

    def values(self) -> NDArray[np.float64]:
        """The grey value of each bin (its lower edge)."""
        if self.pages is None:
            return np.arange(len(self.counts), dtype=np.float64) + np.iinfo(self.dtype).min
        shift = _shift(len(self.pages))
        firsts = (self.pages << _PAGE_BITS)[:, np.newaxis]
        keys = firsts + (np.arange(1 << (_PAGE_BITS - shift)) << shift)
        return _values(keys.reshape(-1), self.dtype)

    def window(self, percentiles: Percentiles) -> Window:
        """The window between two percentiles; raises InputError for a scan of one grey value.

        It holds the whole bins of both, so that no more voxels are clipped than was asked for.
        """
        total = int(self.counts.sum())
        if total == 0:
            raise InputError("the scan holds no finite grey value, so it has no window")
        cumulative = np.cumsum(self.counts)
        low, high = (
            int(np.searchsorted(cumulative, max(1.0, total * p / 100)))
            for p in (percentiles.low, percentiles.high)
        )
        if low == high:
            raise InputError(
                f"between {percentiles} of the voxels the scan has one grey value, "
                f"{self.values()[low]:g}; give the window as two grey values, or none"
            )
        return Window(self._edges(low)[0], self._edges(high)[1])

    def _edges(self, place: int) -> tuple[float, float]:
        """The smallest and the largest grey value that a bin can hold."""
        if self.pages is None:
            value = float(place + np.iinfo(self.dtype).min)
            return value, value
        shift = _shift(len(self.pages))
        page, within = divmod(place << shift, 1 << _PAGE_BITS)
        first = (int(self.pages[page]) << _PAGE_BITS) + within
        rounded = 1 if self.dtype.itemsize == 8 else 0  # to the nearest float32
        keys = np.array([first - rounded, first + (1 << shift) - 1 + rounded])
        low, high = _values(keys, self.dtype).tolist()
        return low, high


@lru_cache(maxsize=4)
def _table(window: Window, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    """What each grey value of up to 16 bits is stored as, by its bits."""
    bits = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}")
    return window._scaled(bits.view(dtype))  # noqa: SLF001 - the same module


def _bands(shape: tuple[int, ...], voxels: int) -> Iterator[tuple[int, slice]]:
    """Slices and rows of about so many voxels: numpy takes eight bytes for each to look it up."""
    depth, height, width = shape
    step = max(1, voxels // width)
    return ((z, slice(y, y + step)) for z in range(depth) for y in range(0, height, step))


def _has_keys(dtype: np.dtype[Any]) -> bool:
    """Whether there are too many grey values of this type to count each."""
    return dtype.kind == "f" or dtype.itemsize > 2


def _counts_of_values(grey: NDArray[Any]) -> NDArray[np.int64]:
    """How often each value of a small integer type occurs, from the smallest on."""
    bins = 1 << 8 * grey.itemsize
    keys, counts = grey.view(f"u{grey.itemsize}"), np.zeros(bins, np.int64)
    for z, rows in _bands(grey.shape, _COUNTED_VOXELS):
        counts += np.bincount(keys[z, rows].reshape(-1), minlength=bins)
    return np.roll(counts, bins // 2) if grey.dtype.kind == "i" else counts


def _shift(pages: int) -> int:
    """How many bits of a key do not matter to its bin, where so many pages occur."""
    return max(0, (pages - 1).bit_length() + _PAGE_BITS - _BIN_BITS)


def _keys_of(grey: NDArray[Any]) -> Iterator[NDArray[np.uint32]]:
    """Keys of the finite values, band by band."""
    for z, rows in _bands(grey.shape, _BINNED_VOXELS):
        values = grey[z, rows].reshape(-1)
        finite = np.isfinite(values)
        yield _keys(values if finite.all() else values[finite])


def _keys(values: NDArray[Any]) -> NDArray[np.uint32]:
    """Whole numbers in the same order as the values: integers of 32 bits, or those of float32."""
    if values.dtype.kind in "ui" and values.itemsize == 4:
        bits = values.view(np.uint32)
        return bits ^ _SIGN if values.dtype.kind == "i" else bits
    if values.itemsize == 8:
        largest = np.finfo(np.float32).max
        values = np.clip(values, -largest, largest)
    bits = (values.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)  # without -0
    return bits ^ ((bits.view(np.int32) >> 31).view(np.uint32) | _SIGN)  # all bits of negative ones


def _values(keys: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The grey values of keys, of those beyond all finite ones the last of these."""
    if dtype.kind in "ui" and dtype.itemsize == 4:
        return keys.astype(np.float64) + np.iinfo(dtype).min
    largest = np.array([-1, 1], np.float32) * np.finfo(np.float32).max
    bits = np.clip(keys, *_keys(largest).astype(np.int64)).astype(np.uint32)
    negative = bits < _SIGN
    return np.where(negative, ~bits, bits ^ _SIGN).view(np.float32).astype(np.float64)
