"""The task of a training: one replicate, from its split of the pairs to its model file."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xctvol.grid import Block
from xctvol.model.card import Card, Training
from xctvol.model.devices import choose_device, learning_precision
from xctvol.model.file import save_model
from xctvol.model.loaded import normalized
from xctvol.model.transfers import as_tensor
from xctvol.pairs import Annotated, Pairs
from xctvol.plan import report
from xctvol.stages.train.fit import fit, rng_of, seeded
from xctvol.stages.train.greys import grey_scale
from xctvol.stages.train.log import write_log
from xctvol.stages.train.losses import PROBABILITY
from xctvol.stages.train.product import ModelFiles
from xctvol.stages.train.samples import Sample, epoch_batches
from xctvol.stages.train.select import choose
from xctvol.stages.train.settings import Settings
from xctvol.stages.train.splits import split_pairs
from xctvol.stages.train.starting import starting_network

__all__ = ["TrainReplicate"]

_LIBRARIES = ("xctvol", "torch", "torchvision")
_RECALIBRATED_OVER = 64  # batches at most: their mean has settled long before

_one_at_a_time = threading.Lock()
"""Torch has one source of randomness a process, and a GPU holds one large training."""


@dataclass(frozen=True)
class TrainReplicate:
    """Trains replicate number `block.index` and leaves its model as a draft of `product`."""

    pairs: Pairs
    settings: Settings
    product: ModelFiles

    def __call__(self, block: Block) -> dict[str, Any]:
        with _one_at_a_time:
            return self._train(block)

    def _train(self, block: Block) -> dict[str, Any]:
        materials, settings = self.pairs.materials, self.settings
        device = choose_device(settings.device)
        draft = self.product.draft(block.index)
        draft.parent.mkdir(parents=True, exist_ok=True)
        learning, choosing = split_pairs(
            self.pairs, settings, block.index, rng_of(settings, block.index, 0)
        )
        annotated = [pair.read(materials) for pair in learning]
        validation = [pair.read(materials) for pair in choosing]
        card = self._card(annotated)
        training = [_sample(a, card) for a in annotated]
        with seeded(rng_of(settings, block.index, 0), device):
            network = starting_network(settings, materials)
        fitted = fit(
            network, training, [_sample(a, card) for a in validation], settings,
            materials=len(materials), replicate=block.index, device=device, folder=draft.parent,
        )  # fmt: skip  # what is fitted to what, and how
        report(settings.epochs, "scoring the best epoch and the last")
        batches = self._batches(training, block.index)
        kept, scores = choose(
            card, fitted.kept_weights(), batches, validation, settings.device, draft.parent
        )
        record = Training(
            options=settings.to_json(),
            replicate=block.index,
            trained_on=tuple(pair.name for pair in learning),
            validated_on=tuple(pair.name for pair in choosing),
            losses=fitted.losses,
            best_epoch=kept.epoch,
            scores=scores,
            kept=kept.name,
            versions={name: version(name) for name in _LIBRARIES},
            precision=learning_precision(device),
        )
        write_log(self.product.draft_log(block.index), fitted.epochs)
        save_model(draft, replace(kept.card, training=record), kept.weights)
        return {"best_epoch": kept.epoch, "kept": kept.name, "macro_f1": scores[kept.name]}

    def _card(self, annotated: Sequence[Annotated]) -> Card:
        """Of a model that learns from these slices."""
        settings = self.settings
        return Card(
            architecture=settings.architecture,
            materials=self.pairs.materials,
            grey=grey_scale([each.image for each in annotated]),
            probability=PROBABILITY[settings.loss],
            scale=settings.scale,
            spacing_um=None if settings.spacing is None else settings.spacing.zyx,
        )

    def _batches(self, training: Sequence[Sample], replicate: int) -> list[Tensor]:
        """Batches as of one more epoch."""
        rng = rng_of(self.settings, replicate, self.settings.epochs + 1)
        batches = epoch_batches(training, self.settings, rng, torch.device("cpu"))
        return [batch.image[:, None] for batch in islice(batches, _RECALIBRATED_OVER)]


def _sample(annotated: Annotated, card: Card) -> Sample:
    """A slice as the network will see it; of its annotation, what lies at the centres of pixels."""
    image = normalized(as_tensor(annotated.image[None]), card.grey, scale=card.scale)[0, 0]
    rows, columns = (
        ((2 * np.arange(seen) + 1) * whole) // (2 * seen)
        for seen, whole in zip(image.shape, annotated.indices.shape, strict=True)
    )
    return Sample(image, torch.from_numpy(annotated.indices[np.ix_(rows, columns)]))
