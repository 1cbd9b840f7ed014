"""How many voxels each label has, at the speed of memory."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["count_labels"]

_WORD = 8


def count_labels(labels: NDArray[np.uint8]) -> dict[int, int]:
    """Voxels of each label that occurs, by label, in order; `labels` is C-contiguous.

    Eight voxels are looked at together, and equal eights that follow each other, as in all but
    noise, are counted together.
    """
    flat = labels.reshape(-1)
    whole = flat.size - flat.size % _WORD
    counts = np.bincount(flat[whole:], minlength=256).astype(np.int64)
    _count(flat[:whole].view(np.uint64), counts)
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


@njit(cache=True, nogil=True)
def _count(words: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
    before, times = np.uint64(0), 0
    for word in words:
        if word != before:
            _add(before, times, counts)
            before, times = word, 0
        times += 1
    _add(before, times, counts)


@njit(cache=True, nogil=True, inline="always")
def _add(word: np.uint64, times: int, counts: NDArray[np.int64]) -> None:
    for voxel in range(8):
        counts[(word >> np.uint64(8 * voxel)) & np.uint64(255)] += times
