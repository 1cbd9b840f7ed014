"""How much memory a network takes, found without taking any: a dry run on torch's meta device."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xctvol.errors import UsageError
from xctvol.model.networks import outline, weight_bytes

__all__ = ["prediction_bytes", "training_bytes"]


def prediction_bytes(architecture: str, materials: int, size: tuple[int, int]) -> int:
    """Bytes that labeling one slice of `size` (y, x) in fp32 holds at most, weights included."""
    network = outline(architecture, materials)
    network.body.eval()
    slices = torch.empty((1, 1, *size), device="meta")
    with torch.no_grad():
        peak = _peak(lambda: network.coarse_logits(slices))
    pixels = size[0] * size[1]
    return weight_bytes(architecture, materials) + peak + 8 * pixels


def training_bytes(architecture: str, materials: int, shape: tuple[int, int, int]) -> int:
    """Bytes that a training step on slices of `shape` (n, y, x) in fp32 holds at most.

    Counts weights four times (with the best ones so far and Adam's two moments), gradients and
    activations. Raises UsageError where the network cannot learn from such slices.
    """
    network = outline(architecture, materials)
    slices = torch.empty((shape[0], 1, *shape[1:]), device="meta")
    try:
        peak = _peak(lambda: network.logits(slices).sum().backward())
    except ValueError as error:
        raise UsageError(
            f"{architecture} cannot learn from batches of {shape[0]} x {shape[1]} x {shape[2]} "
            f"(slices, y, x): {error}; use crops and a larger batch"
        ) from error
    return 4 * weight_bytes(architecture, materials) + peak


def _peak(compute: Callable[[], Any]) -> int:
    with _LiveStorages() as live:
        compute()
    return live.peak


class _LiveStorages(TorchDispatchMode):
    """Adds up the storages that operations make, until each is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self._now -= size
