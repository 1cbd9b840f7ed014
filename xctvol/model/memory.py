"""How much memory a network takes, told from slices so small that it takes hardly any.

What a network holds after each of its operations grows with the pixels: a part that does not,
such as weights and their gradients, and as much again for every pixel. Two small sizes tell both,
operation by operation, and the largest sum at the size that is asked for is what it needs there.
"""

import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xctvol.errors import UsageError
from xctvol.model.card import Card
from xctvol.model.devices import reproducible
from xctvol.model.networks import Network, scaled_size, unfilled, weight_bytes
from xctvol.model.recompute import recompute_layers
from xctvol.model.winograd import Shape, minimal_bytes, minimal_shape

__all__ = [
    "details_bytes",
    "ensemble_bytes",
    "loading_bytes",
    "prediction_bytes",
    "training_bytes",
]

_STEP = 32  # networks halve slices up to five times, rounding up


def prediction_bytes(architecture: str, materials: int, size: tuple[int, int]) -> int:
    """Bytes that labelling one slice of `size` (y, x) in fp32 holds at most, weights included.

    Of networks whose memory grows with the pixels, as that of all convolutions does.
    """
    held, minimal = _predicting(architecture, materials)
    tiles = minimal_bytes((shape, math.ceil(share * size[1])) for shape, share in minimal)
    weights = weight_bytes(architecture, materials)
    return weights + tiles + held.most(_whole_steps(size)) + 8 * math.prod(size)


@lru_cache
def _predicting(architecture: str, materials: int) -> tuple["_Held", Sequence[tuple[Shape, float]]]:
    """What a prediction holds, and the convolutions that a CPU does with fewer products.

    Of each of these the width of what it gets, as a part of the slice's.
    """
    network = unfilled(architecture, materials)
    network.body.eval()
    with torch.no_grad():
        held = _held(lambda size: network.coarse_logits(torch.empty((1, 1, *size))), _STEP)
        return held, _minimal(network) if network.ordered else []


def _minimal(network: Network) -> list[tuple[Shape, float]]:
    """Convolutions that a CPU does with fewer products, and the widths of what they get."""
    seen: list[tuple[Shape, float]] = []

    def watch(shape: Shape) -> Callable[[nn.Module, tuple[Tensor]], None]:
        return lambda _, images: seen.append((shape, images[0].shape[-1] / _STEP))

    with ExitStack() as hooks:
        for layer in network.body.modules():
            shape = minimal_shape(layer)
            if shape:
                hooks.callback(layer.register_forward_pre_hook(watch(shape)).remove)
        network.coarse_logits(torch.empty((1, 1, _STEP, _STEP)))
    return seen


def ensemble_bytes(cards: Sequence[Card], size: tuple[int, int]) -> int:
    """Bytes that labelling one slice of `size` (y, x) by models together holds at most.

    Each model's weights and logits stay, one of them computes at a time.
    """
    if len(cards) == 1 and cards[0].scale == 1:
        return prediction_bytes(cards[0].architecture, len(cards[0].materials), size)
    computing, kept = [], 8 * math.prod(size)
    for card in cards:
        materials, seen = len(card.materials), scaled_size(size, card.scale)
        weights = weight_bytes(card.architecture, materials)
        computing.append(prediction_bytes(card.architecture, materials, seen) - weights)
        kept += weights + 4 * materials * seen[0] * size[1]
    return kept + max(computing)


def loading_bytes(cards: Sequence[Card]) -> int:
    """Bytes of the host's memory that loading models one after the other holds at most.

    Each model's weights stay; those of one are held twice more, as they are in its file, and in
    parts as float64.
    """
    weights = [weight_bytes(card.architecture, len(card.materials)) for card in cards]
    return sum(weights) + 2 * max(weights)


def details_bytes(materials: int, size: tuple[int, int]) -> int:
    """Bytes that the probabilities of one slice add: three times as float32, once as stored."""
    return (3 * 4 + 1) * materials * math.prod(size)


def training_bytes(
    architecture: str,
    materials: int,
    shape: tuple[int, int, int],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    checkpointing: bool = False,
) -> int:
    """Bytes that a training step on slices of `shape` (n, y, x) in fp32 holds at most.

    Counts weights four times (with the best ones so far and Adam's two moments), gradients,
    activations, and what `loss` of logits and indices (n, y, x) uint8 makes. Raises UsageError
    where the network cannot learn from so many slices at a time.
    """
    count, *size = shape
    at_once = min(count, 2)
    try:
        held = _learning(architecture, materials, at_once, loss, checkpointing)
    except ValueError as error:
        raise UsageError(
            f"{architecture} cannot learn from batches of {shape[0]} x {shape[1]} x {shape[2]} "
            f"(slices, y, x): {error}; use crops and a larger batch"
        ) from error
    pixels = count * _whole_steps((size[0], size[1])) / at_once
    return 4 * weight_bytes(architecture, materials) + held.most(pixels)


@lru_cache
def _learning(
    architecture: str,
    materials: int,
    count: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    checkpointing: bool,
) -> "_Held":
    network = unfilled(architecture, materials)
    if checkpointing:
        recompute_layers(network.body)

    def step(size: tuple[int, int]) -> None:
        network.body.zero_grad()
        indices = torch.zeros((count, *size), dtype=torch.uint8)
        loss(network.logits(torch.empty((count, 1, *size))), indices).backward()

    return _held(step, 2 * _STEP // count)  # normalization needs several values a channel


def _whole_steps(size: tuple[int, int]) -> int:
    """Pixels of a slice, as a network that halves it sees it."""
    return math.prod(-(-n // _STEP) * _STEP for n in size)


@dataclass(frozen=True)
class _Held:
    """Bytes after each operation, with slices of `pixels` and with slices of twice as many."""

    pixels: int
    single: Sequence[int]
    double: Sequence[int]

    def most(self, pixels: float) -> int:
        """The most that is held at a time with slices of so many pixels."""
        times = pixels / self.pixels
        if len(self.single) != len(self.double):  # another way for another size
            return math.ceil(max(self.double) * max(1.0, times / 2))
        single, double = np.array(self.single, float), np.array(self.double, float)
        return math.ceil((single + (double - single) * (times - 1)).max())


def _held(compute: Callable[[tuple[int, int]], Any], side: int) -> _Held:
    found = []
    with reproducible(torch.device("cpu")):  # in one thread: for so little, more cost more
        for size in ((side, side), (side, 2 * side)):
            with _LiveStorages() as live:
                compute(size)
            found.append(live.nbytes)
    return _Held(side * side, *found)


class _LiveStorages(TorchDispatchMode):
    """Adds up the storages that operations make, until each is freed.

    `nbytes` is what there was after each operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nbytes: list[int] = []
        self._now = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would import its compiler, which takes seconds, to keep it away from here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        self.nbytes.append(self._now)
        return result

    def _add(self, storage: Any) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self._now += size
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self._now -= size
