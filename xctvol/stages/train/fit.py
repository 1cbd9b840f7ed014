"""The epochs of one training: learn, validate, keep the best, leave a checkpoint.

All randomness comes from (seed, replicate, epoch), so a run that continues from a checkpoint does
exactly what it would have done without the interruption. On a CPU that makes results equal bit
for bit; GPUs add up in no fixed order.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xctvol.errors import XctvolError
from xctvol.files import staged
from xctvol.model.card import Losses
from xctvol.model.devices import arithmetic, learning_precision
from xctvol.model.networks import Network, build
from xctvol.pairs import IGNORE
from xctvol.plan import report
from xctvol.stages.train.samples import Sample, epoch_batches
from xctvol.stages.train.settings import Settings

__all__ = ["DivergedError", "Fitted", "fit", "material_loss", "rng_of"]

Weights = dict[str, Tensor]


class DivergedError(XctvolError):
    """The loss is no longer a number, so the weights are lost."""


@dataclass(frozen=True)
class Fitted:
    """The weights of the best epoch, and the losses of all."""

    weights: Weights
    losses: tuple[Losses, ...]

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the smallest validation loss; of equal ones the first."""
        return 1 + min(range(len(self.losses)), key=lambda i: self.losses[i].validation)


def rng_of(settings: Settings, replicate: int, epoch: int) -> np.random.Generator:
    """The randomness of one epoch; epoch 0 stands for what comes before the first."""
    return np.random.default_rng([settings.seed, replicate, epoch])


def fit(
    training: Sequence[Sample],
    validation: Sequence[Sample],
    materials: int,
    settings: Settings,
    *,
    replicate: int,
    device: torch.device,
    checkpoint: Path,
) -> Fitted:
    """Train for `settings.epochs` epochs, from `checkpoint` on where that file exists.

    Raises DivergedError as soon as a loss is not a number.
    """
    with _seeded(rng_of(settings, replicate, 0), device):
        learner = _Learner(build(settings.architecture, materials), settings, device)
    fitted = learner.resume(checkpoint) if checkpoint.exists() else Fitted({}, ())
    report(len(fitted.losses))
    for epoch in range(len(fitted.losses) + 1, settings.epochs + 1):
        rng = rng_of(settings, replicate, epoch)
        with _seeded(rng, device):
            losses = Losses(
                learner.learn(epoch_batches(training, settings.crop, settings.batch, rng)),
                learner.validate(validation),
            )
        _refuse_nan(losses, epoch)
        fitted = Fitted(fitted.weights, (*fitted.losses, losses))
        if fitted.best_epoch == epoch:
            fitted = Fitted(learner.weights(), fitted.losses)
        learner.save(checkpoint, fitted)
        report(epoch, f"loss {losses.training:.3f}, validation {losses.validation:.3f}")
    return fitted


def material_loss(logits: Tensor, indices: Tensor) -> Tensor:
    """Binary cross-entropy of each material, mean over materials and annotated pixels.

    `logits` (n, k, y, x), `indices` (n, y, x) uint8; pixels of index IGNORE do not count.
    """
    materials = torch.arange(logits.shape[1], device=logits.device)
    wanted = (indices[:, None] == materials[:, None, None]).to(torch.float32)
    losses = functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    annotated = indices != IGNORE
    return (losses.mean(1) * annotated).sum() / annotated.sum().clamp(min=1)


class _Learner:
    """A network and its optimizer on a device."""

    def __init__(self, network: Network, settings: Settings, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._precision = learning_precision(device)
        network.body.to(memory_format=torch.channels_last).to(device)
        self._adam = torch.optim.Adam(network.body.parameters(), lr=settings.learning_rate)

    def learn(self, batches: Iterable[Sample]) -> float:
        """One step a batch; the mean loss before each."""
        self._network.body.train()
        losses = []
        for batch in batches:
            loss = self._loss(batch)
            self._adam.zero_grad()
            loss.backward()
            self._adam.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    @torch.no_grad()
    def validate(self, samples: Sequence[Sample]) -> float:
        """Mean loss over whole slices, as the network would predict them."""
        self._network.body.eval()
        single = (Sample(sample.image[None], sample.indices[None]) for sample in samples)
        return float(torch.stack([self._loss(sample) for sample in single]).mean())

    def weights(self) -> Weights:
        return {name: t.detach().clone() for name, t in self._network.body.state_dict().items()}

    def save(self, checkpoint: Path, fitted: Fitted) -> None:
        state = {
            "network": self._network.body.state_dict(),
            "adam": self._adam.state_dict(),
            "best": fitted.weights,
            "losses": [asdict(losses) for losses in fitted.losses],
        }
        with staged(checkpoint) as partial:
            torch.save(state, partial)

    def resume(self, checkpoint: Path) -> Fitted:
        state = torch.load(checkpoint, map_location=self._device, weights_only=True)
        self._network.body.load_state_dict(state["network"])
        self._adam.load_state_dict(state["adam"])
        return Fitted(state["best"], tuple(Losses(**losses) for losses in state["losses"]))

    def _loss(self, batch: Sample) -> Tensor:
        with arithmetic(self._precision, self._device):
            logits = self._network.logits(batch.image[:, None].to(self._device))
        return material_loss(logits, batch.indices.to(self._device))


def _refuse_nan(losses: Losses, epoch: int) -> None:
    if not (math.isfinite(losses.training) and math.isfinite(losses.validation)):
        raise DivergedError(
            f"the loss is not a number in epoch {epoch} (training {losses.training}, validation "
            f"{losses.validation}): the network has diverged; use a smaller learning rate"
        )


@contextmanager
def _seeded(rng: np.random.Generator, device: torch.device) -> Iterator[None]:
    """While active, torch draws what `rng` decides (weights, dropout); then as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**31)))
        yield
