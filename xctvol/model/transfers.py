"""Slices to a device, labels back: on a GPU both beside what it computes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Transfers", "as_tensor"]

_AS_STORED = (np.uint8, np.uint16, np.int16)  # travel as they are, and become float on the device


def as_tensor(slices: NDArray[Any]) -> Tensor:
    """Slices in a type that torch computes with; they are copied only where it needs that."""
    kind = slices.dtype if slices.dtype in _AS_STORED else np.float32
    return torch.from_numpy(np.require(slices, kind, ["C", "W"]))


class Transfers:
    """What goes to a device, and what comes back from it.

    A GPU copies on two streams beside the one on which it computes: the next slices arrive and the
    last labels leave while it is at work, as far as the host has queued that already. Only pinned
    memory is copied so. Of the host's memory nothing may be changed, or be read as labels, before
    the device is synchronized (`xctvol.model.devices.settled`).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = None
        if device.type == "cuda":
            self._streams = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def send(self, slices: NDArray[Any]) -> Tensor:
        """The slices on the device, for what is queued there from now on."""
        here = as_tensor(slices)
        if self._streams is None:
            return here
        sending, computing = self._streams[0], torch.cuda.current_stream(self._device)
        with torch.cuda.stream(sending):
            there = here.to(self._device, non_blocking=True)
        computing.wait_stream(sending)
        there.record_stream(computing)  # else its memory could be taken while it is still read
        return there

    def fetch(self, labels: Tensor, out: NDArray[np.uint8]) -> None:
        """Fill `out` with labels, once all that is queued before has been computed."""
        here = torch.from_numpy(out)
        if self._streams is None:
            here.copy_(labels)
            return
        fetching, computing = self._streams[1], torch.cuda.current_stream(self._device)
        fetching.wait_stream(computing)
        with torch.cuda.stream(fetching):
            here.copy_(labels, non_blocking=True)
        labels.record_stream(fetching)
