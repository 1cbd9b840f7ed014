"""The epochs of one training: learn, validate, keep the best, leave a checkpoint.

All randomness comes from (seed, replicate, epoch), so a run that continues from a checkpoint does
exactly what it would have done without the interruption. On a CPU that makes results equal bit
for bit; GPUs add up in no fixed order.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xctvol.errors import XctvolError
from xctvol.files import staged
from xctvol.model.card import Losses
from xctvol.model.networks import Network
from xctvol.plan import report
from xctvol.stages.train.learner import Learner, Weights
from xctvol.stages.train.log import Epoch
from xctvol.stages.train.samples import Sample, epoch_batches
from xctvol.stages.train.settings import Settings
from xctvol.units import format_bytes

__all__ = ["DivergedError", "Fitted", "fit", "rng_of", "seeded"]


class DivergedError(XctvolError):
    """The loss is no longer a number, so the weights are lost."""


@dataclass(frozen=True)
class Fitted:
    """The weights of the best epoch and of the last one, and the record of all."""

    weights: Weights
    epochs: tuple[Epoch, ...]
    last: Weights = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the smallest validation loss; of equal ones the first."""
        return 1 + min(range(len(self.epochs)), key=lambda i: self.epochs[i].validation_loss)

    @property
    def losses(self) -> tuple[Losses, ...]:
        return tuple(Losses(epoch.training_loss, epoch.validation_loss) for epoch in self.epochs)

    def kept_weights(self) -> dict[int, Weights]:
        """The best weights and the last, by epoch: the loss may rise while labels get better."""
        return {self.best_epoch: self.weights, len(self.epochs): self.last}

    def ended(self, settings: Settings) -> bool:
        """Whether all epochs are done, or too many since the best one."""
        done, patience = len(self.epochs), settings.patience
        stalled = patience is not None and done and done - self.best_epoch >= patience
        return done >= settings.epochs or bool(stalled)


def rng_of(settings: Settings, replicate: int, epoch: int) -> np.random.Generator:
    """The randomness of one epoch; epoch 0 stands for what comes before the first."""
    return np.random.default_rng([settings.seed, replicate, epoch])


def fit(
    network: Network,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    settings: Settings,
    *,
    materials: int,
    replicate: int,
    device: torch.device,
    folder: Path,
) -> Fitted:
    """Train `network`, from the checkpoint in `folder` on where there is one.

    It gives logits of so many `materials`. Raises DivergedError as soon as a loss is not a number.
    """
    pixels = torch.stack([sample.pixels(materials) for sample in training]).sum(0).tolist()
    learner, checkpoint = Learner(network, settings, device, pixels), folder / "checkpoint.pt"
    fitted = _resume(learner, checkpoint, device) if checkpoint.exists() else Fitted({}, ())
    report(len(fitted.epochs))
    while not fitted.ended(settings):
        epoch = len(fitted.epochs) + 1
        rng, rate = rng_of(settings, replicate, epoch), settings.rate(epoch)
        with seeded(rng, device):
            learned = learner.learn(epoch_batches(training, settings, rng, device), rate)
            done = Epoch(epoch, learned, *learner.validate(validation), rate)
        _refuse_nan(done, settings.learning_rate)
        fitted = Fitted(fitted.weights, (*fitted.epochs, done))
        if fitted.best_epoch == epoch:
            fitted = Fitted(learner.weights(), fitted.epochs)
        _save(learner, checkpoint, fitted)
        report(epoch, _note(done, device))
    return replace(fitted, last=learner.weights())


def _save(learner: Learner, checkpoint: Path, fitted: Fitted) -> None:
    epochs = [asdict(epoch) for epoch in fitted.epochs]
    with staged(checkpoint) as partial:
        torch.save({**learner.state(), "best": fitted.weights, "epochs": epochs}, partial)


def _resume(learner: Learner, checkpoint: Path, device: torch.device) -> Fitted:
    state: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
    learner.restore(state)
    return Fitted(state["best"], tuple(Epoch(**epoch) for epoch in state["epochs"]))


def _note(done: Epoch, device: torch.device) -> str:
    note = (
        f"loss {done.training_loss:.3f}, validation {done.validation_loss:.3f}, "
        f"macro-F1 {done.macro_f1:.3f}"
    )
    if device.type == "cuda":
        note += f", {format_bytes(torch.cuda.max_memory_allocated(device))} on {device}"
    return note


def _refuse_nan(done: Epoch, rate: float) -> None:
    if not (math.isfinite(done.training_loss) and math.isfinite(done.validation_loss)):
        raise DivergedError(
            f"the loss is not a number in epoch {done.epoch} (training {done.training_loss}, "
            f"validation {done.validation_loss}): the network has diverged; use a smaller "
            f"learning rate, as --learning-rate {rate / 10:.1g} --overwrite"
        )


@contextmanager
def seeded(rng: np.random.Generator, device: torch.device) -> Iterator[None]:
    """While active, torch draws what `rng` decides (weights, dropout); then as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**31)))
        yield
