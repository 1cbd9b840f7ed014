"""Finding the few voxels of a row that need a closer look.

A vector loop marks them with ones; whole groups of eight unmarked voxels are then skipped at once.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Positions", "marked", "positions", "row_of_marks"]

Positions = NDArray[np.uint64]

_GROUP = 8  # bytes compared as one integer
_TO_BITS = np.uint64(0x0102040810204080)  # times eight bytes of 0 or 1: their bits, at the top
_TOP = np.uint64(56)


def _positions_of_bits() -> NDArray[np.uint64]:
    """Where the ones are in each byte, (256, 8), filled with zeros."""
    table = np.zeros((256, _GROUP), np.uint64)
    for byte in range(256):
        ones = [bit for bit in range(_GROUP) if byte >> bit & 1]
        table[byte, : len(ones)] = ones
    return table


_ONES = _positions_of_bits()
_COUNTS = np.array([byte.bit_count() for byte in range(256)], np.uint64)


@njit(cache=True, nogil=True)
def row_of_marks(length: int) -> NDArray[np.uint8]:
    """No marks, for `length` voxels and as many more as make whole groups."""
    return np.zeros((length + _GROUP - 1) // _GROUP * _GROUP, np.uint8)


@njit(cache=True, nogil=True)
def positions(length: int) -> Positions:
    """Room for what `marked` finds in a row of `length`."""
    return np.empty(length + _GROUP, np.uint64)


@njit(cache=True, nogil=True)
def marked(marks: NDArray[np.uint8], found: Positions) -> int:
    """Write the positions of all ones among `marks` (0 or 1) to `found`; returns their number.

    A group's eight places are written whatever it holds, and those beyond its ones written over
    by the next: without a branch, as which voxels are marked cannot be guessed.
    """
    groups = marks.view(np.uint64)
    count = np.uint64(0)
    for group in range(groups.size):
        if groups[group]:
            byte = groups[group] * _TO_BITS >> _TOP
            for i in range(_GROUP):
                found[count + np.uint64(i)] = np.uint64(_GROUP * group) + _ONES[byte, i]
            count += _COUNTS[byte]
    return int(count)
