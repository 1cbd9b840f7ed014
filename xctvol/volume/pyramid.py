"""Halving a volume: means of grey values, modes of labels. Pure functions on (z, y, x) arrays.

Two voxels along each axis become one. Where an axis has an odd number of voxels its last one is
taken twice; an axis of one voxel stays as it is. Voxels are in native byte order.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Halve", "halve_grey", "halve_labels", "halved_shape"]


class Halve(Protocol):
    """Fills `out`, or a new array, with half of a volume, and returns it."""

    def __call__(
        self, volume: NDArray[Any], /, out: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...


_BAND = 64  # rows
_CELLS = 1 << 16  # whose labels are counted at once


def halve_grey(grey: NDArray[Any], /, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Means of 2 x 2 x 2 voxels; of integers exact, halves rounded up."""
    assert grey.dtype.isnative, grey.dtype  # pairs are looked at by their bits
    out = np.empty(halved_shape(grey.shape), grey.dtype) if out is None else out
    means = _means_of_longs if grey.dtype.kind in "ui" and grey.itemsize == 8 else _means
    with np.errstate(invalid="ignore", over="ignore"):  # a mean of infinities is not finite
        for z, (first, second) in enumerate(_slice_pairs(grey)):
            for rows, halved in _bands(grey.shape[1]):
                means(first[rows], second[rows], out[z, halved])
    return out


def _means(first: NDArray[Any], second: NDArray[Any], out: NDArray[Any]) -> None:
    """Means of the cells of two planes."""
    wide = _sum_type(first.dtype)
    total = _sum_along_x(first, wide)
    total += _sum_along_x(second, wide)
    _mean_along_y(total, out)


def _means_of_longs(first: NDArray[Any], second: NDArray[Any], out: NDArray[Any]) -> None:
    """Means of integers whose sums no type holds: the sum of their eighths, and of what is left."""
    three, seven, four = (first.dtype.type(n) for n in (3, 7, 4))

    def sums(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        total = _sum_along_x(one, out.dtype) + _sum_along_x(other, out.dtype)
        even, odd = _pairs(total, 0)
        return even + odd

    left = sums(first & seven, second & seven) + four
    np.add(sums(first >> three, second >> three), left >> three, out=out)


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


def halve_labels(labels: NDArray[Any], /, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The most frequent label of 2 x 2 x 2 voxels; of equally frequent ones the smallest."""
    assert labels.dtype.isnative, labels.dtype  # pairs are looked at by their bits
    out = np.empty(halved_shape(labels.shape), labels.dtype) if out is None else out
    for z, (first, second) in enumerate(_slice_pairs(labels)):
        _modes_of_cells(_even(first), _even(second), out[z])
    return out


def _modes_of_cells(first: NDArray[Any], second: NDArray[Any], out: NDArray[Any]) -> None:
    """Modes of the cells of two planes: most cells hold one label, only the rest is counted."""
    width = first.shape[1]
    mixed = np.empty(out.shape, bool)
    first_of_cells = _first_of_cells if first.itemsize < 8 else _first_of_long_cells
    for rows, halved in _bands(len(first)):
        first_of_cells(first[rows], second[rows], out[halved], mixed[halved])
    places = np.flatnonzero(mixed)
    for some in (places[n : n + _CELLS] for n in range(0, len(places), _CELLS)):
        corner = 2 * some + width * (some // out.shape[1])
        corners = [corner, corner + 1, corner + width, corner + width + 1]
        out.reshape(-1)[some] = _modes([p.reshape(-1)[c] for p in (first, second) for c in corners])


def _first_of_cells(
    first: NDArray[Any], second: NDArray[Any], out: NDArray[Any], mixed: NDArray[np.bool_]
) -> None:
    """One label of each cell, and which cells hold others as well.

    Neighbours along x are looked at as one number of twice the size: several times faster than
    striding over them.
    """
    bits = 8 * first.itemsize
    pair = np.dtype(f"u{2 * first.itemsize}")
    one, *others = (plane[row::2].view(pair) for plane in (first, second) for row in (0, 1))
    differ = one ^ others[0]
    for other in others[1:]:
        differ |= one ^ other
    differ |= (one >> pair.type(bits)) ^ (one & pair.type((1 << bits) - 1))
    np.not_equal(differ, 0, out=mixed)
    np.copyto(out, one, casting="unsafe")  # keeps the lower half, which is one of the labels


def _first_of_long_cells(
    first: NDArray[Any], second: NDArray[Any], out: NDArray[Any], mixed: NDArray[np.bool_]
) -> None:
    """The same of labels of 64 bits: no number is twice their size."""
    out[...], mixed[...] = first[::2, ::2], False
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for plane in (first, second):
            mixed |= plane[y::2, x::2] != out


def _modes(values: list[NDArray[Any]]) -> NDArray[Any]:
    """Of each place the most frequent of its values; of equally frequent ones the smallest."""
    counts = np.ones((len(values), len(values[0])), np.uint8)
    for one, other in combinations(range(len(values)), 2):
        equal = values[one] == values[other]
        counts[one] += equal
        counts[other] += equal
    mode, most = values[0], counts[0]
    for value, count in zip(values[1:], counts[1:], strict=True):
        better = (count > most) | ((count == most) & (value < mode))
        mode, most = np.where(better, value, mode), np.where(better, count, most)
    return mode


def halved_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
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


def _even(plane: NDArray[Any]) -> NDArray[Any]:
    """C-contiguous, with an even number of rows and columns: the last is repeated if need be."""
    height, width = plane.shape
    if height % 2 or width % 2:
        return np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return np.ascontiguousarray(plane)


def _sum_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type that holds the sum of eight values; half precision ends at 65504."""
    if dtype.kind == "f":
        return np.result_type(dtype, np.float32)
    return np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
