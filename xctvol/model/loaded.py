"""One model on a device: stored slices in, logits at the network's own resolution out."""

import torch
from torch import Tensor
from torch.nn import functional

from xctvol.model.card import IDENTITY, Affine, GreyScale
from xctvol.model.decode import LARGEST_ODDS
from xctvol.model.devices import Precision, arithmetic
from xctvol.model.fastest import fastest
from xctvol.model.file import Model
from xctvol.model.networks import scaled_size

__all__ = ["LoadedModel", "normalized"]


class LoadedModel:
    """A model in the form that predicts fastest, see `xctvol.model.fastest`."""

    def __init__(self, model: Model, device: torch.device, precision: Precision) -> None:
        self.card = model.card
        self.device = device
        self.precision = precision
        by_slice = self.card.norm == "batch"
        self._network = fastest(model.network(), device, precision, batch_statistics=by_slice)

    def coarse(self, stored: Tensor, grey: Affine) -> Tensor:
        """Logits float32 (n, k, y', x') of slices (n, y, x) on the device, which mean `grey`.

        Wants torch's inference mode. Where the card says `norm = batch`, n is 1.
        """
        x = normalized(stored, self.card.grey, grey, scale=self.card.scale)
        with arithmetic(self.precision, self.device):
            return self._network.coarse_logits(x).float()

    def odds(self, logits: Tensor) -> Tensor:
        """Log odds log(p / (1 - p)) of each material, like the logits: their sigmoid is p.

        They are those at the network's own resolution, to be enlarged as its logits are.
        """
        if self.card.probability == "sigmoid":
            return logits
        likely = functional.log_softmax(logits, dim=1)
        unlikely = (-likely.exp()).log1p_()
        return likely.sub_(unlikely).clamp_(-LARGEST_ODDS, LARGEST_ODDS)


def normalized(
    stored: Tensor, greys: GreyScale, grey: Affine = IDENTITY, *, scale: float = 1.0
) -> Tensor:
    """What a network sees: (n, y, x) as stored -> float32 (n, 1, y, x), resized by `scale`.

    Resizing is bicubic, and smooths where it shrinks, as Pillow does, with which the models that
    need it were trained.
    """
    factor, summand = greys.stored(grey)
    x = stored.to(torch.float32, copy=True)[:, None].mul_(factor).add_(summand)
    if scale != 1:
        size = scaled_size((x.shape[-2], x.shape[-1]), scale)
        x = functional.interpolate(x, size=size, mode="bicubic", antialias=True)
    return x.clamp_(0, 1).sub_(greys.mean).div_(greys.std)
