"""Batch statistics for another scan: collected anew over slices of it, the weights as they are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import UsageError
from xctvol.grid import Block, Box, counted
from xctvol.journal import Journal, Recipe
from xctvol.locations import Location
from xctvol.model.agreement import Agreement, sample_slices
from xctvol.model.card import Affine, Card, Recalibration
from xctvol.model.devices import arithmetic, choose_device, reproducible
from xctvol.model.file import Model, open_model, save_model
from xctvol.model.loaded import normalized
from xctvol.model.memory import prediction_bytes
from xctvol.model.networks import outline, scaled_size, weight_bytes
from xctvol.model.norms import has_batch_norm
from xctvol.model.norms import recalibrate as collect
from xctvol.model.predict import Predictor, ensemble_for
from xctvol.model.product import ModelProduct
from xctvol.model.suitability import doubts, stored_grey
from xctvol.model.transfers import as_tensor
from xctvol.plan import Plan, Stage, refuse_own_input, report
from xctvol.volume import Volume, open_volume

__all__ = ["recalibrate"]

_PROCESS_BYTES = 600_000_000
_MODELS = 3  # held at once: the one that collects, and those before and after


@dataclass(frozen=True)
class Recalibrate:
    """Collects statistics over some slices of a scan, and compares labels on others."""

    model: Path
    digest: str
    scan: Location
    grey: Affine
    collected: tuple[int, ...]
    compared: tuple[int, ...]
    device: str
    product: ModelProduct

    def __call__(self, block: Block) -> dict[str, int]:
        before = ensemble_for(((self.model, self.digest),), self.device, "fp32")
        card, weights = before.card.with_norm("running"), self._weights()
        save_model(self.product.draft, card, weights)
        agreement = self._agreement(before)
        record = Recalibration(self.scan.name, len(self.collected), agreement.share)
        save_model(self.product.draft, replace(card, recalibration=record), weights)
        return agreement.to_json()

    def _weights(self) -> dict[str, Any]:
        model, device = open_model(self.model), choose_device(self.device)
        network = model.network()
        network.body.to(device)
        card = model.card
        batches = (
            normalized(as_tensor(image).to(device), card.grey, self.grey, scale=card.scale)
            for image in self._slices(self.collected, 0)
        )
        try:
            with reproducible(device), arithmetic("fp32", device):
                collect(network, batches)
        except ValueError as error:  # what torch raises where a layer sees a single value
            raise UsageError(
                f"{card.architecture} cannot collect statistics slice by slice: {error}"
            ) from error
        return dict(network.body.state_dict())

    def _agreement(self, before: Predictor) -> Agreement:
        after = Predictor(open_model(self.product.draft), self.device, "fp32")
        total = Agreement()
        for image in self._slices(self.compared, len(self.collected)):
            total += Agreement.of(after.labels(image, self.grey), before.labels(image, self.grey))
        return total

    def _slices(self, wanted: tuple[int, ...], done: int) -> Iterator[NDArray[Any]]:
        """One slice (1, y, x) after the other; `done` were before these."""
        volume = open_volume(self.scan)
        _, height, width = volume.shape
        for number, z in enumerate(wanted, done + 1):
            yield volume.read(Box((z, 0, 0), (z + 1, height, width)))
            report(number)


def recalibrate(
    model: Model,
    volume: Volume,
    output: str | Path,
    *,
    slices: int = 32,
    device: str = "auto",
) -> Plan[Model]:
    """Plan a model with the weights of `model` and running statistics over `slices` of `volume`.

    The card of the product records how many pixels keep their label, on slices between those.
    Raises UsageError for a network without batch normalization, InputError where the model does
    not know the grey values of this volume.
    """
    card, product = model.card, ModelProduct(Path(output))
    refuse_own_input([model.path], product.path)
    if not has_batch_norm(outline(card.architecture, len(card.materials)).body):
        raise UsageError(f"{card.architecture} has no batch normalization: nothing to recalibrate")
    if slices < 1:
        raise UsageError(f"{slices} slices are not possible: take at least 1")
    collected = sample_slices(volume.shape[0], slices)
    others = sorted({*range(volume.shape[0])} - {*collected}) or list(collected)
    compared = tuple(others[place] for place in sample_slices(len(others)))
    task = Recalibrate(
        model.path.absolute(), model.digest, volume.path, stored_grey(volume, card),
        collected, compared, device, product,
    )  # fmt: skip  # eight short arguments
    recipe = Recipe(
        "recalibrate",
        {"model": model.digest, "volume": volume.digest},
        {"slices": len(collected)},
    )
    blocks = counted([len(collected) + len(compared)])
    journal = Journal(product.work / "recalibrated")
    weights = weight_bytes(card.architecture, len(card.materials))
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("recalibrate", task, blocks, journal),),
        conclude=lambda: product.publish(recipe),
        peak_memory=_peak_memory(volume, card),
        reads=(len(collected) + len(compared)) * _slice_bytes(volume),
        writes=3 * weights,
        notes=(
            f"statistics over {len(collected)} slices, labels compared on {len(compared)}",
            *(f"WARNING: {doubt}" for doubt in doubts(volume, card)),
        ),
    )


def _slice_bytes(volume: Volume) -> int:
    return int(np.prod(volume.shape[1:], dtype=np.int64)) * volume.dtype.itemsize


def _peak_memory(volume: Volume, card: Card) -> int:
    _, height, width = volume.shape
    size = scaled_size((height, width), card.scale)
    network = prediction_bytes(card.architecture, len(card.materials), size)
    logits = 4 * len(card.materials) * size[0] * size[1]
    held = (_MODELS - 1) * weight_bytes(card.architecture, len(card.materials))
    return network + held + logits + 8 * _slice_bytes(volume) + _PROCESS_BYTES
