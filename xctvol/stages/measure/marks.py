"""Finding the few voxels of a row that need a closer look.

A vector loop marks them with ones; whole groups of eight unmarked voxels are then skipped at once.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Positions", "marked", "positions", "row_of_marks"]

Positions = NDArray[np.uint64]

_GROUP = 8  # bytes compared as one integer


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
    """Write the positions of all ones among `marks` (0 or 1) to `found`; returns their number."""
    groups = marks.view(np.uint64)
    count = 0
    for group in range(groups.size):
        if groups[group]:
            for x in range(_GROUP * group, _GROUP * (group + 1)):
                found[count] = x
                count += marks[x]  # without a branch: which voxels are marked cannot be guessed
    return count
