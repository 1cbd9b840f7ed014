"""The device a process predicts on: one block at a time, and never more slices than fit."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from xctvol.errors import PartialError
from xctvol.model.card import Affine
from xctvol.model.devices import choose_device
from xctvol.resources import available_memory, thread_budget
from xctvol.units import format_bytes
from xctvol.volume import reused

__all__ = ["Device", "Labeler", "TooLargeError", "shared_device"]

_PIXELS_AT_ONCE = 32 * 2560 * 2560  # on a GPU, which waits for the host after them
_NO_MEMORY = re.compile("out of memory|ALLOC_FAILED")  # of libraries that torch calls
_SLICES_AT_ONCE = 4  # on a CPU, where a slice takes seconds: at least, for all threads alike


class TooLargeError(PartialError):
    """A single slice does not fit into the memory of the device."""


class Labeler(Protocol):
    """What turns slices (n, y, x) into labels; `grey` is what the stored values mean."""

    def labels_into(self, slices: NDArray[Any], grey: Affine, out: NDArray[np.uint8]) -> None: ...


class Device:
    """A device of this process; blocks take turns on it, first come, first served.

    Turns are what lets one block be read and another written while a third is predicted: without
    them all would share the device, and end at the same time. Raises UsageError where this process
    does not have the device.
    """

    def __init__(self, name: str) -> None:
        self._device = choose_device(name)
        self._changed = threading.Condition()
        self._next = self._serving = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until all who came before are done; the device is then this thread's own."""
        with self._changed:
            ticket = self._next
            self._next += 1
            self._changed.wait_for(lambda: self._serving == ticket)
        try:
            yield
        finally:
            with self._changed:
                self._serving += 1
                self._changed.notify_all()

    def memory(self, purpose: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Like `reused`, in memory that this device can copy from and to by itself."""
        if self._device.type == "cuda":
            with torch.cuda.device(self._device):  # else a context of the first GPU is made
                return reused(f"pinned {purpose}", shape, dtype, _pinned)
        return reused(purpose, shape, dtype)

    def label(
        self,
        labeler: Labeler,
        slices: NDArray[Any],
        grey: Affine,
        out: NDArray[np.uint8],
        needed_bytes: int,
    ) -> Iterator[int]:
        """Fill `out` with the labels of some slices after the other, and give how many are done.

        `needed_bytes` is what one slice was to need. Where they do not fit into the memory of a GPU
        half as many are tried. Raises TooLargeError where a single slice does not fit, and
        PartialError where the device fails; nothing is ever moved to another device.
        """
        start, count = 0, self._at_once(slices)
        while start < len(slices):
            some = slice(start, min(start + count, len(slices)))
            if self._fits(labeler, slices[some], grey, out[some]):
                yield some.stop
                start = some.stop
                continue
            torch.cuda.empty_cache()  # now that no exception holds what did fit
            count = (some.stop - some.start) // 2
            if not count:
                raise self._refusal(slices.shape[1:], needed_bytes)

    def _fits(
        self, labeler: Labeler, slices: NDArray[Any], grey: Affine, out: NDArray[np.uint8]
    ) -> bool:
        """Label slices if there is the memory for so many at a time."""
        try:
            labeler.labels_into(slices, grey, out)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY.search(str(error)):
                return False
            raise PartialError(
                f"{self._device} failed ({type(error).__name__}: {error}); finished slabs are "
                "kept, run the same command again"
            ) from error
        return True

    def peak_bytes(self) -> int:
        """The most that has been held in the memory of a GPU; 0 for a CPU."""
        if self._device.type != "cuda":
            return 0
        return torch.cuda.max_memory_allocated(self._device)

    def _at_once(self, slices: NDArray[Any]) -> int:
        if self._device.type == "cpu":
            threads = thread_budget()
            return threads * -(-_SLICES_AT_ONCE // threads)
        return max(1, _PIXELS_AT_ONCE // (slices.shape[1] * slices.shape[2]))

    def _refusal(self, size: tuple[int, ...], needed_bytes: int) -> "TooLargeError":
        free = self._free_bytes()
        pixels = size[0] * size[1] * free // needed_bytes
        return TooLargeError(
            f"one slice of {size[0]} x {size[1]} needs about {format_bytes(needed_bytes)} on "
            f"{self._device}, which has {format_bytes(free)} free: slices of {pixels} pixels would "
            "fit; use a lower --precision, a GPU with more memory, or a smaller network"
        )

    def _free_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.mem_get_info(self._device)[0]
        return available_memory()


_lock = threading.Lock()
_devices: dict[str, Device] = {}


def shared_device(name: str) -> Device:
    """The one device of this name that all blocks of this process share."""
    with _lock:  # blocks begin at the same moment, each in a thread of its own
        if name not in _devices:
            _devices[name] = Device(name)
        return _devices[name]


def _pinned(nbytes: int) -> NDArray[np.uint8]:
    memory: NDArray[np.uint8] = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
    return memory
