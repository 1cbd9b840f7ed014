"""Windows: one range of grey values for a whole scan, and the histogram it is chosen from.

A window maps original grey values onto 0..1 (or 0..255 when a volume is stored as uint8). It is
one range for all slices: a range per slice would make the same tissue another grey in each.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.volume.buffers import reused
from xctvol.volume.threads import in_threads

__all__ = ["Histogram", "Percentiles", "Window", "parse_window"]

_LOOKUP_VOXELS = 1 << 16  # fit into the processor's cache
_COUNTED_VOXELS = 1 << 18  # so many that adding up counts costs little

_FLOAT_SHIFT = 12  # keeps sign, exponent and 11 bits of the mantissa: bins 0.05 % wide
_FLOAT_BINS = 1 << (32 - _FLOAT_SHIFT)


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
    """Counts of grey values: exact for integers of up to 16 bits, else in bins 0.05 % wide.

    Wider types are counted as float32 by the leading bits of their order-preserving integer
    form, so that one pass serves any range of values and sums of histograms are exact.
    """

    dtype: np.dtype[Any]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, grey: NDArray[Any]) -> Self:
        """Histogram of an array; NaN and infinities are left out of the float form."""
        dtype = grey.dtype
        if dtype.kind in "ui" and dtype.itemsize <= 2:
            bins = 1 << 8 * dtype.itemsize
            keys, counts = grey.view(f"u{dtype.itemsize}"), np.zeros(bins, np.int64)
            for z, rows in _bands(grey.shape, _COUNTED_VOXELS):
                counts += np.bincount(keys[z, rows].reshape(-1), minlength=bins)
            return cls(dtype, np.roll(counts, bins // 2) if dtype.kind == "i" else counts)
        counts = np.zeros(_FLOAT_BINS, np.int64)
        for plane in grey:
            values = plane[np.isfinite(plane)].astype(np.float32)
            counts += np.bincount(_ordered(values) >> _FLOAT_SHIFT, minlength=_FLOAT_BINS)
        return cls(dtype, counts)

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
        return Histogram(self.dtype, self.counts + other.counts)

    def values(self) -> NDArray[np.float64]:
        """The grey value of each bin (its lower edge)."""
        if self.dtype.kind in "ui" and self.dtype.itemsize <= 2:
            return np.arange(len(self.counts), dtype=np.float64) + np.iinfo(self.dtype).min
        keys = np.arange(_FLOAT_BINS, dtype=np.uint32) << np.uint32(_FLOAT_SHIFT)
        with np.errstate(invalid="ignore"):  # some keys are those of NaN; nothing is counted there
            values: NDArray[np.float64] = _unordered(keys).astype(np.float64)
        return values

    def window(self, percentiles: Percentiles) -> Window:
        """The window between two percentiles; raises InputError for a scan of one grey value."""
        total = int(self.counts.sum())
        if total == 0:
            raise InputError("the scan holds no finite grey value, so it has no window")
        cumulative = np.cumsum(self.counts)
        values = self.values()
        low, high = (
            float(values[int(np.searchsorted(cumulative, max(1.0, total * p / 100)))])
            for p in (percentiles.low, percentiles.high)
        )
        if low == high:
            raise InputError(
                f"between {percentiles} of the voxels the scan has one grey value, {low:g}; "
                "give the window as two grey values, or none"
            )
        return Window(low, high)


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


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Unsigned integers in the same order as the floats."""
    bits = values.view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(1 << 31))


def _unordered(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    positive = keys >> np.uint32(31) == 1
    return np.where(positive, keys & np.uint32((1 << 31) - 1), ~keys).view(np.float32)
