"""The task of a training: one replicate, from its split of the pairs to its model file."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from xctvol.grid import Block
from xctvol.model.card import Card, GreyScale, Training
from xctvol.model.devices import choose_device
from xctvol.model.file import save_model
from xctvol.model.predict import normalized
from xctvol.pairs import Annotated, Pair, Pairs
from xctvol.plan import report
from xctvol.stages.train.fit import fit, rng_of
from xctvol.stages.train.greys import grey_scale
from xctvol.stages.train.product import ModelFiles
from xctvol.stages.train.samples import Sample, epoch_batches
from xctvol.stages.train.select import choose
from xctvol.stages.train.settings import Settings

__all__ = ["TrainReplicate", "split"]

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
        draft = self.product.draft(block.index)
        draft.parent.mkdir(parents=True, exist_ok=True)
        learning, choosing = split(self.pairs, settings, block.index)
        annotated = [pair.read(materials) for pair in learning]
        validation = [pair.read(materials) for pair in choosing]
        card = Card(settings.architecture, materials, grey_scale([a.image for a in annotated]))
        training = [_sample(a, card.grey) for a in annotated]
        fitted = fit(
            training,
            [_sample(a, card.grey) for a in validation],
            len(materials),
            settings,
            replicate=block.index,
            device=choose_device(settings.device),
            checkpoint=draft.with_name("checkpoint.pt"),
        )
        report(settings.epochs, "choosing the statistics to normalize with")
        batches = self._batches(training, block.index)
        kept, scores = choose(card, fitted.weights, batches, validation, settings.device, draft)
        record = Training(
            options=settings.to_json(),
            replicate=block.index,
            trained_on=tuple(pair.name for pair in learning),
            validated_on=tuple(pair.name for pair in choosing),
            losses=fitted.losses,
            best_epoch=fitted.best_epoch,
            scores=scores,
            kept=kept.name,
            versions={name: version(name) for name in _LIBRARIES},
        )
        save_model(draft, replace(kept.card, training=record), kept.weights)
        return {"best_epoch": fitted.best_epoch, "kept": kept.name, "macro_f1": scores[kept.name]}

    def _batches(self, training: Sequence[Sample], replicate: int) -> list[Tensor]:
        """Batches as of one more epoch."""
        rng = rng_of(self.settings, replicate, self.settings.epochs + 1)
        batches = epoch_batches(training, self.settings.crop, self.settings.batch, rng)
        return [batch.image[:, None] for batch in islice(batches, _RECALIBRATED_OVER)]


def split(pairs: Pairs, settings: Settings, replicate: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from and pairs to choose the best epoch by, at least one of each."""
    order = rng_of(settings, replicate, 0).permutation(len(pairs))
    count = min(max(1, round(settings.validation * len(pairs))), len(pairs) - 1)
    return [pairs[i] for i in sorted(order[count:])], [pairs[i] for i in sorted(order[:count])]


def _sample(annotated: Annotated, grey: GreyScale) -> Sample:
    image = normalized(annotated.image[None], grey, device=torch.device("cpu"))[0, 0]
    return Sample(image, torch.from_numpy(annotated.indices))
