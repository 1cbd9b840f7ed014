"""One model on a device: stored slices in, logits at the network's own resolution out."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xctvol.model.card import IDENTITY, Affine, GreyScale
from xctvol.model.devices import Precision, arithmetic
from xctvol.model.fastest import fastest
from xctvol.model.file import Model
from xctvol.model.networks import scaled_size

__all__ = ["LoadedModel", "normalized"]

_AS_STORED = (np.uint8, np.uint16, np.int16)  # go to the device as they are, and become float there


class LoadedModel:
    """A model in the form that predicts fastest, see `xctvol.model.fastest`."""

    def __init__(self, model: Model, device: torch.device, precision: Precision) -> None:
        self.card = model.card
        self.device = device
        self.precision = precision
        by_slice = self.card.norm == "batch"
        self._network = fastest(model.network(), device, precision, batch_statistics=by_slice)

    def coarse(self, slices: NDArray[Any], grey: Affine) -> Tensor:
        """Logits float32 (n, k, y', x') of slices (n, y, x) whose stored values mean `grey`.

        Wants torch's inference mode. Where the card says `norm = batch`, n is 1.
        """
        scale = self.card.scale
        x = normalized(slices, self.card.grey, grey, device=self.device, scale=scale)
        with arithmetic(self.precision, self.device):
            return self._network.coarse_logits(x).float()


def normalized(
    slices: NDArray[Any],
    greys: GreyScale,
    grey: Affine = IDENTITY,
    *,
    device: torch.device,
    scale: float = 1.0,
) -> Tensor:
    """What a network sees: (n, y, x) as stored -> float32 (n, 1, y, x), resized by `scale`.

    Resizing is bicubic, and smooths where it shrinks, as Pillow does, with which the models that
    need it were trained. A GPU may still be copying pinned slices when this returns.
    """
    factor, summand = greys.stored(grey)
    kind = slices.dtype if slices.dtype in _AS_STORED else np.float32
    array = np.require(slices, kind, ["C", "W"])  # a copy only where torch needs one
    stored = torch.from_numpy(array).to(device, non_blocking=True)
    x = stored.to(torch.float32, copy=True)[:, None].mul_(factor).add_(summand)
    if scale != 1:
        size = scaled_size((x.shape[-2], x.shape[-1]), scale)
        x = functional.interpolate(x, size=size, mode="bicubic", antialias=True)
    return x.clamp_(0, 1).sub_(greys.mean).div_(greys.std)
