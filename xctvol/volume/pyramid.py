"""Halving a volume: means of grey values, modes of labels. Pure functions on (z, y, x) arrays.

Two voxels along each axis become one. Where an axis has an odd number of voxels its last one is
taken twice; an axis of one voxel stays as it is.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Halve", "halve_grey", "halve_labels"]

Halve = Callable[[NDArray[Any]], NDArray[Any]]

_BAND = 64  # rows
_MAX_NIBBLE_LABEL = 15  # 16 labels of 4-bit counts fill a uint64


def halve_grey(grey: NDArray[Any]) -> NDArray[Any]:
    """Means of 2 x 2 x 2 voxels; of integers exact, halves rounded up."""
    out = np.empty(_halved(grey.shape), grey.dtype)
    wide = _sum_type(grey.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # a mean of infinities is not finite
        for z, (first, second) in enumerate(_slice_pairs(grey)):
            for rows, halved in _bands(grey.shape[1]):
                total = _sum_along_x(first[rows], wide)
                total += _sum_along_x(second[rows], wide)
                _mean_along_y(total, out[z, halved])
    return out


def _bands(height: int) -> Iterator[tuple[slice, slice]]:
    """Rows, and what they halve to, few enough to stay in the processor's cache."""
    for row in range(0, height, _BAND):
        yield slice(row, row + _BAND), slice(row // 2, (row + _BAND) // 2)


def _sum_along_x(plane: NDArray[Any], wide: np.dtype[Any]) -> NDArray[Any]:
    """Sums of pairs of neighbours in a row."""
    if (
        plane.dtype.kind == "u"
        and plane.shape[1] % 2 == 0
        and plane.strides[1] == wide.itemsize // 2
    ):
        both = plane.view(wide)  # a pair as one number: half the memory traffic of striding
        total = both & wide.type((1 << 8 * plane.itemsize) - 1)
        total += both >> wide.type(8 * plane.itemsize)
        return total
    even, odd = _pairs(plane, 1)
    return np.add(even, odd, dtype=wide)


def _mean_along_y(total: NDArray[Any], out: NDArray[Any]) -> None:
    """From sums of four voxels to means of eight."""
    even, odd = _pairs(total, 0)
    if out.dtype.kind == "f":
        np.multiply(even + odd, total.dtype.type(0.125), out=out)
        return
    mean = even + odd
    mean += total.dtype.type(4)
    mean >>= total.dtype.type(3)
    np.copyto(out, mean, casting="unsafe")


def halve_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """The most frequent label of 2 x 2 x 2 voxels; of equally frequent ones the smallest."""
    out = np.empty(_halved(labels.shape), labels.dtype)
    few = _present(labels)
    for z, (first, second) in enumerate(_slice_pairs(labels)):
        if few is None:
            out[z] = _mode_by_sort(first, second)
        else:
            out[z] = _mode_by_counts(first, second, few)
    return out


def _present(labels: NDArray[Any]) -> NDArray[Any] | None:
    """The labels that occur, where they are few and small enough to be counted side by side."""
    if labels.dtype != np.uint8:
        return None
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=1))
    return present if present[-1] <= _MAX_NIBBLE_LABEL else None


def _mode_by_counts(
    first: NDArray[Any], second: NDArray[Any], present: NDArray[Any]
) -> NDArray[np.uint8]:
    """Counts of all labels side by side in one integer, four bits each."""
    ones = np.uint64(1) << (np.uint64(4) * np.arange(_MAX_NIBBLE_LABEL + 1, dtype=np.uint64))
    counts = ones[first] + ones[second]
    counts = _add_pairs(_add_pairs(counts, 0), 1)
    mode = np.zeros(counts.shape, np.uint8)
    most = np.zeros(counts.shape, np.uint8)
    for label in present:
        count = ((counts >> np.uint64(4 * label)) & np.uint64(15)).astype(np.uint8)
        mode[count > most] = label
        np.maximum(most, count, out=most)
    return mode


def _mode_by_sort(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Any number of labels: of eight sorted values, the start of the longest run."""
    corners = [c for plane in (first, second) for row in _pairs(plane, 0) for c in _pairs(row, 1)]
    values = np.sort(np.stack(corners), axis=0)
    counts = np.stack([(values == value).sum(axis=0, dtype=np.uint8) for value in values])
    longest = counts.argmax(axis=0)
    mode: NDArray[Any] = np.take_along_axis(values, longest[None], axis=0)[0]
    return mode


def _halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // 2) for n in shape)


def _slice_pairs(volume: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    last = len(volume) - 1
    return ((volume[z], volume[min(z + 1, last)]) for z in range(0, len(volume), 2))


def _pairs(plane: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Even and odd entries along an axis, the last even one repeated where the axis is odd."""
    even = plane[::2] if axis == 0 else plane[:, ::2]
    odd = plane[1::2] if axis == 0 else plane[:, 1::2]
    if odd.shape != even.shape:
        last = even[-1:] if axis == 0 else even[:, -1:]
        odd = np.concatenate([odd, last], axis=axis)
    return even, odd


def _add_pairs(plane: NDArray[Any], axis: int) -> NDArray[Any]:
    even, odd = _pairs(plane, axis)
    return even + odd


def _sum_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type that holds the sum of eight values."""
    if dtype.kind == "f":
        return np.dtype(dtype)
    return np.dtype(f"{dtype.kind}{min(8, 2 * dtype.itemsize)}")
