"""A network and its optimizer on a device: one epoch of steps, one pass of validation."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xctvol.model.devices import arithmetic, learning_precision
from xctvol.model.networks import Network
from xctvol.model.recompute import recompute_layers
from xctvol.model.scores import MaterialScores, confusion
from xctvol.stages.train.losses import loss_called
from xctvol.stages.train.samples import Sample
from xctvol.stages.train.settings import Settings

__all__ = ["Learner", "Weights"]

Weights = dict[str, Tensor]


class Learner:
    """Makes the loss of `settings` small with Adam, in bf16 where the device is fast in it.

    `pixels` are those of each material that are annotated on the slices to learn from.
    """

    def __init__(
        self, network: Network, settings: Settings, device: torch.device, pixels: Sequence[int]
    ) -> None:
        self._network = network
        self._device = device
        self._precision = learning_precision(device)
        self._loss = loss_called(settings.loss, pixels, device)
        self._accumulate = settings.accumulate
        network.body.to(memory_format=torch.channels_last).to(device)
        if settings.checkpointing:
            recompute_layers(network.body)
        self._adam = torch.optim.Adam(network.body.parameters(), fused=True)  # one pass of memory

    def learn(self, batches: Iterable[Sample], rate: float) -> float:
        """A step every so many batches, at a learning rate; the mean loss of all, before each."""
        self._network.body.train()
        for parameters in self._adam.param_groups:
            parameters["lr"] = rate
        losses: list[Tensor] = []
        for group in _groups(batches, self._accumulate):
            self._adam.zero_grad()
            before = len(losses)
            for batch in group:
                _, loss = self._forward(batch)
                loss.backward()
                losses.append(loss.detach())
            self._average(len(losses) - before)
            self._adam.step()
        return float(torch.stack(losses).mean())

    @torch.no_grad()
    def validate(self, samples: Sequence[Sample]) -> tuple[float, float]:
        """Mean loss over whole slices, and macro-F1 over their pixels."""
        self._network.body.eval()
        losses, counts = [], np.zeros((), np.int64)
        for sample in samples:
            logits, loss = self._forward(Sample(sample.image[None], sample.indices[None]))
            losses.append(loss)
            predicted = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
            counts = counts + confusion(sample.indices.numpy(), predicted, logits.shape[1])
        return float(torch.stack(losses).mean()), float(MaterialScores.of(counts).macro_f1)

    def weights(self) -> Weights:
        return {name: t.detach().clone() for name, t in self._network.body.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that learning changes, for a checkpoint."""
        return {"network": self._network.body.state_dict(), "adam": self._adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self._network.body.load_state_dict(state["network"])
        self._adam.load_state_dict(state["adam"])

    def _forward(self, batch: Sample) -> tuple[Tensor, Tensor]:
        with arithmetic(self._precision, self._device):
            logits = self._network.logits(batch.image[:, None].to(self._device))
        return logits, self._loss(logits, batch.indices.to(self._device))

    def _average(self, batches: int) -> None:
        """Gradients of several batches were added up; a step wants their mean."""
        if batches > 1:
            for parameter in self._network.body.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(batches)


def _groups(batches: Iterable[Sample], size: int) -> Iterator[Iterator[Sample]]:
    """`size` batches after the other, the last ones fewer; only one is made at a time."""
    left = iter(batches)
    for first in left:
        yield _with(first, islice(left, size - 1))


def _with(first: Sample, others: Iterator[Sample]) -> Iterator[Sample]:
    yield first
    yield from others
