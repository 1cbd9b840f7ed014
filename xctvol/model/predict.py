"""Slices in, labels out: the one place where models predict."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xctvol.errors import InputError
from xctvol.model.card import IDENTITY, Affine, Decode
from xctvol.model.decode import Rule, decoded, enlarged, index_rule_of, probabilities, rule_of
from xctvol.model.devices import (
    Precision,
    choose_device,
    choose_precision,
    reproducible,
    settled,
)
from xctvol.model.ensemble import require_alike
from xctvol.model.file import Model, open_model
from xctvol.model.loaded import LoadedModel
from xctvol.model.transfers import Transfers

__all__ = ["Details", "ModelFile", "Predictor", "ensemble_for"]

_BATCH_PIXELS = 2560 * 2560  # on a GPU, more at once gains nothing and costs memory
_KEPT = 2  # a predictor, and the exact one it is compared with

Size = tuple[int, int]


@dataclass(frozen=True)
class Details:
    """Labels (n, y, x) and how sure they are, all uint8.

    `probabilities` (n, materials, y, x) is 255 times each material's probability, the sigmoid or
    softmax of its logit as the model's card says, and of several models the mean; they need not
    add up to 255. `margin` (n, y, x) is
    255 times the difference between the two largest probabilities (of a single material, its
    probability): 0 is undecided.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.uint8]
    margin: NDArray[np.uint8]


class Predictor:
    """One model, or several that decide together, on a device, ready to label slices.

    In fp32 the labels are those of the plain network in evaluation mode followed by the decode
    rule, but for pixels where rounding decides. Several models decide by the mean of their
    probabilities. `decode` is the card's unless it is given. Slices may have any size. Several
    threads may use one predictor. On a CPU it predicts up to `threads` slices side by side, each in
    one thread, which changes no label; a GPU has one batch after the other.
    """

    def __init__(
        self,
        models: Model | Sequence[Model],
        device: str = "auto",
        precision: Precision = "auto",
        decode: Decode | None = None,
        threads: int = 1,
    ) -> None:
        together = (models,) if isinstance(models, Model) else tuple(models)
        require_alike(together, decode)
        self.card = together[0].card
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._decode = decode or self.card.decode
        self._rule = rule_of(self._decode, self.card.materials)
        self._models = tuple(LoadedModel(model, self.device, self.precision) for model in together)
        # the largest logit is that of the largest probability, whatever these are
        self._by_logits = len(together) == 1 and self._decode == "argmax"
        self._transfers = Transfers(self.device)
        self._pool = None
        if self.device.type == "cpu" and threads > 1:
            self._pool = ThreadPoolExecutor(threads, "slices", torch.set_num_threads, (1,))

    def labels(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> NDArray[np.uint8]:
        """Label values (n, y, x) of slices (n, y, x) whose stored values mean `grey`."""
        out = np.empty(slices.shape, np.uint8)
        self._decode_into(slices, grey, self._rule, out)
        return out

    def labels_into(self, slices: NDArray[Any], grey: Affine, out: NDArray[np.uint8]) -> None:
        """Fill `out` with what `labels` gives; fastest where it is pinned, for a GPU."""
        self._decode_into(slices, grey, self._rule, out)

    def indices(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> NDArray[np.uint8]:
        """Index (n, y, x) of each pixel's material by the rule; their number where it has none.

        Raises UsageError where the rule sums labels, which may name several materials.
        """
        out = np.empty(slices.shape, np.uint8)
        rule = index_rule_of(self._decode, self.card.materials)
        self._decode_into(slices, grey, rule, out)
        return out

    def details(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> Details:
        """Labels, as `labels` gives them, with probabilities and margin."""
        (count, *size), materials = slices.shape, len(self.card.materials)
        found = Details(
            np.empty(slices.shape, np.uint8),
            np.empty((count, materials, *size), np.uint8),
            np.empty(slices.shape, np.uint8),
        )

        def store(batch: slice, coarse: list[Tensor]) -> None:
            chances = probabilities(self._odds(coarse), (size[0], size[1]))
            found.probabilities[batch] = _stored(chances)
            found.margin[batch] = _stored(_margin(chances))
            labels = self._decoded(coarse, (size[0], size[1]), self._rule)
            found.labels[batch] = labels.cpu().numpy()

        self._each(slices, grey, store)
        return found

    def logits(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> NDArray[np.float32]:
        """Logits (n, materials, y, x) of slices (n, y, x), by the first model."""
        count, *size = slices.shape
        out = np.empty((count, len(self.card.materials), *size), np.float32)

        def store(batch: slice, coarse: list[Tensor]) -> None:
            out[batch] = enlarged(coarse[0], (size[0], size[1])).cpu().numpy()

        self._each(slices, grey, store)
        return out

    def _decode_into(
        self, slices: NDArray[Any], grey: Affine, rule: Rule, out: NDArray[np.uint8]
    ) -> None:
        def store(batch: slice, coarse: list[Tensor]) -> None:
            self._transfers.fetch(self._decoded(coarse, slices.shape[1:], rule), out[batch])

        with settled(self.device):  # once: a GPU that the host waits for idles after each batch
            self._each(slices, grey, store)

    def _decoded(self, coarse: list[Tensor], size: Size, rule: Rule) -> Tensor:
        return decoded(coarse if self._by_logits else self._odds(coarse), size, rule)

    def _odds(self, coarse: list[Tensor]) -> list[Tensor]:
        return [model.odds(logits) for model, logits in zip(self._models, coarse, strict=True)]

    def _each(
        self, slices: NDArray[Any], grey: Affine, store: Callable[[slice, list[Tensor]], None]
    ) -> None:
        """Give `store` every batch of the slices, with the logits of each model."""
        step = self._batch(slices.shape[1] * slices.shape[2])
        batches = [slice(start, start + step) for start in range(0, len(slices), step)]

        @torch.inference_mode()  # of a thread
        def predict(batch: slice) -> None:
            stored = self._transfers.send(slices[batch])
            store(batch, [model.coarse(stored, grey) for model in self._models])

        run = map if self._pool is None else self._pool.map
        with reproducible(self.device):
            list(run(predict, batches))

    def _batch(self, pixels: int) -> int:
        by_slice = any(model.card.norm == "batch" for model in self._models)
        if by_slice or self.device.type == "cpu":
            return 1  # statistics of each slice by itself; a CPU is busy with one slice
        return max(1, _BATCH_PIXELS // pixels)


def _margin(chances: Tensor) -> Tensor:
    """(n, k, y, x) -> (n, y, x)"""
    if chances.shape[1] == 1:
        return chances[:, 0]
    first, second = chances.topk(2, 1).values.unbind(1)
    return first - second


def _stored(chances: Tensor) -> NDArray[np.uint8]:
    stored: NDArray[np.uint8] = (chances * 255).round_().to(torch.uint8).cpu().numpy()
    return stored


ModelFile = tuple[Path, str]
"""A model file and its digest: how models travel to other processes."""

_Key = tuple[tuple[ModelFile, ...], str, Precision, Decode | None, int]
_lock = threading.Lock()
_predictors: OrderedDict[_Key, Predictor] = OrderedDict()


def ensemble_for(
    files: tuple[ModelFile, ...],
    device: str,
    precision: Precision,
    decode: Decode | None = None,
    threads: int = 1,
) -> Predictor:
    """The predictor of model files, loaded once a process and kept while it is in use.

    Raises InputError where a file is no longer the one with its digest.
    """
    key = (files, device, precision, decode, threads)
    with _lock:
        if key not in _predictors:
            models = [_unchanged(path, digest) for path, digest in files]
            _predictors[key] = Predictor(models, device, precision, decode, threads)
        _predictors.move_to_end(key)
        while len(_predictors) > _KEPT:
            _predictors.popitem(last=False)
        return _predictors[key]


def _unchanged(path: Path, digest: str) -> Model:
    model = open_model(path)
    if model.digest != digest:
        raise InputError(
            f"the model {path} has changed since the plan was made; make the plan again"
        )
    return model
