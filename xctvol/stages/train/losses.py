"""What a training makes small: a number for logits (n, k, y, x) and indices (n, y, x) uint8.

Pixels of index IGNORE do not count. Where nothing is annotated the loss is 0, or for `dice` what
materials without a pixel give.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from xctvol.pairs import IGNORE
from xctvol.stages.train.settings import Loss

__all__ = ["LOSSES", "binary_cross_entropy", "cross_entropy", "dice"]


def binary_cross_entropy(logits: Tensor, indices: Tensor) -> Tensor:
    """Each material against the rest, as in the reference: mean over materials and pixels."""
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), _planes(logits, indices), reduction="none"
    )
    annotated = indices != IGNORE
    return (losses.mean(1) * annotated).sum() / annotated.sum().clamp(min=1)


def cross_entropy(logits: Tensor, indices: Tensor) -> Tensor:
    """One material among all (softmax): mean over pixels."""
    total = functional.cross_entropy(
        logits.float(), indices.long(), ignore_index=IGNORE, reduction="sum"
    )
    return total / (indices != IGNORE).sum().clamp(min=1)


def dice(logits: Tensor, indices: Tensor) -> Tensor:
    """1 - mean over materials of (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), sums over the batch.

    p is the sigmoid, t is 1 where the material is annotated. Rare materials count as much as
    common ones (Milletari et al. 2016); the ones make an absent material that is not predicted
    perfect, rather than undefined.
    """
    wanted = _planes(logits, indices)
    found = logits.float().sigmoid() * (indices != IGNORE)[:, None]
    both, either = (found * wanted).sum((0, 2, 3)), (found + wanted).sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (either + 1)).mean()


LOSSES: Mapping[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": binary_cross_entropy,
    "cross-entropy": cross_entropy,
    "dice": dice,
}


def _planes(logits: Tensor, indices: Tensor) -> Tensor:
    """1 where a pixel is annotated as the material of its plane, else 0: like `logits`."""
    materials = torch.arange(logits.shape[1], device=logits.device)
    return (indices[:, None] == materials[:, None, None]).to(torch.float32)
