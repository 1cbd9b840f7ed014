"""Large arrays that are used again: half the cost of filling a fresh one is its page faults."""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["release", "reused"]


class _Kept(threading.local):
    """Memory by purpose, for each thread its own."""

    def __init__(self) -> None:
        self.memory: dict[str, NDArray[np.uint8]] = {}


_KEPT = _Kept()


def reused(purpose: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A C-contiguous array of any content, in the memory of the last one for `purpose`.

    So only one array for a purpose is in use at a time in a thread. The memory stays until
    `release`.
    """
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    kept = _KEPT.memory.pop(purpose, None)
    if kept is None or kept.nbytes < nbytes:
        del kept  # before the new one is taken, not after
        kept = np.empty(nbytes, np.uint8)
    _KEPT.memory[purpose] = kept
    return kept[:nbytes].view(dtype).reshape(shape)


def release() -> None:
    """Give back what this thread keeps."""
    _KEPT.memory.clear()
