"""Slices in, labels out: the one place where a model predicts."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xctvol.errors import InputError
from xctvol.model.card import IDENTITY, Affine, GreyScale
from xctvol.model.decode import enlarged, largest, largest_in_bands
from xctvol.model.devices import (
    Precision,
    arithmetic,
    choose_device,
    choose_precision,
    reproducible,
)
from xctvol.model.file import Model, open_model
from xctvol.model.networks import fold_batch_norm
from xctvol.model.norms import use_batch_statistics

__all__ = ["Predictor", "normalized", "predictor_for"]

_BATCH_PIXELS = 2560 * 2560  # on a GPU, more at once gains nothing and costs memory
_KEPT = 2


class Predictor:
    """A model on a device, ready to label slices.

    In fp32 the labels are those of the plain network in evaluation mode followed by argmax, but
    for pixels whose two largest logits differ by rounding. Slices may have any size. Several
    threads may use one predictor.
    """

    def __init__(self, model: Model, device: str = "auto", precision: Precision = "auto") -> None:
        self.card = model.card
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._labels = np.array(self.card.materials.labels, np.uint8)
        self._network = model.network()
        body = self._network.body
        if self.card.norm == "batch":
            use_batch_statistics(body)
        elif self._network.ordered:
            fold_batch_norm(body)
        body.to(memory_format=torch.channels_last).to(self.device)

    def labels(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> NDArray[np.uint8]:
        """Label values (n, y, x) of slices (n, y, x) whose stored values mean `grey`."""
        return np.take(self._labels, self.indices(slices, grey))

    @torch.inference_mode()
    def indices(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> NDArray[np.uint8]:
        """Like `labels`, as indices into the card's materials."""
        decode = largest_in_bands if self.device.type == "cpu" else largest
        out = np.empty(slices.shape, np.uint8)
        with reproducible(self.device):
            for batch, coarse in self._coarse(slices, grey):
                out[batch] = decode(coarse, slices.shape[1:]).cpu().numpy()
        return out

    @torch.inference_mode()
    def logits(self, slices: NDArray[Any], grey: Affine = IDENTITY) -> NDArray[np.float32]:
        """Logits (n, materials, y, x) of slices (n, y, x)."""
        count, *size = slices.shape
        out = np.empty((count, len(self._labels), *size), np.float32)
        with reproducible(self.device):
            for batch, coarse in self._coarse(slices, grey):
                out[batch] = enlarged(coarse, (size[0], size[1])).cpu().numpy()
        return out

    def _coarse(self, slices: NDArray[Any], grey: Affine) -> Iterator[tuple[slice, Tensor]]:
        step = self._batch(slices.shape[1] * slices.shape[2])
        for start in range(0, len(slices), step):
            batch = slice(start, start + step)
            x = normalized(slices[batch], self.card.grey, grey, device=self.device)
            with arithmetic(self.precision, self.device):
                coarse = self._network.coarse_logits(x)
            yield batch, coarse.float()

    def _batch(self, pixels: int) -> int:
        if self.card.norm == "batch" or self.device.type == "cpu":
            return 1  # statistics of each slice by itself; a CPU is busy with one slice
        return max(1, _BATCH_PIXELS // pixels)


def normalized(
    slices: NDArray[Any], scale: GreyScale, grey: Affine = IDENTITY, *, device: torch.device
) -> Tensor:
    """What a network sees: (n, y, x) as stored -> float32 (n, 1, y, x)."""
    factor, summand = scale.stored(grey)
    x = torch.from_numpy(slices.astype(np.float32, order="C")).to(device)  # a copy in any case
    x = x.mul_(factor).add_(summand).clamp_(0, 1).sub_(scale.mean).div_(scale.std)
    return x[:, None]


_lock = threading.Lock()
_predictors: OrderedDict[tuple[Path, str, str, Precision], Predictor] = OrderedDict()


def predictor_for(path: Path, digest: str, device: str, precision: Precision) -> Predictor:
    """The predictor of a model file, loaded once a process and kept while it is in use.

    Raises InputError where the file is no longer the one with this digest.
    """
    key = (path, digest, device, precision)
    with _lock:
        if key not in _predictors:
            model = open_model(path)
            if model.digest != digest:
                raise InputError(
                    f"the model {path} has changed since the plan was made; make the plan again"
                )
            _predictors[key] = Predictor(model, device, precision)
        _predictors.move_to_end(key)
        while len(_predictors) > _KEPT:
            _predictors.popitem(last=False)
        return _predictors[key]
