"""Large arrays that are used again: half the cost of filling a fresh one is its page faults."""

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["release", "reused"]


class _Kept(threading.local):
    """Memory by purpose, for each thread its own."""

    def __init__(self) -> None:
        self.memory: dict[str, NDArray[np.uint8]] = {}


_KEPT = _Kept()


def _pageable(nbytes: int) -> NDArray[np.uint8]:
    return np.empty(nbytes, np.uint8)


def reused(
    purpose: str,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    allocate: Callable[[int], NDArray[np.uint8]] = _pageable,
) -> NDArray[Any]:
    """A C-contiguous array of any content, in the memory of the last one for `purpose`.

    So only one array for a purpose is in use at a time in a thread. The memory stays until
    `release`, or the end of the thread. `allocate` makes so many bytes of it.
    """
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    kept = _KEPT.memory.pop(purpose, None)
    if kept is None or kept.nbytes < nbytes:
        del kept  # before the new one is taken, not after
        kept = allocate(nbytes)
    _KEPT.memory[purpose] = kept
    return kept[:nbytes].view(dtype).reshape(shape)


def release() -> None:
    """Give back what this thread keeps."""
    _KEPT.memory.clear()
