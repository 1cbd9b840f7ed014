"""What a training makes small: a number for logits (n, k, y, x) and indices (n, y, x) uint8.

Pixels of index IGNORE do not count. Where nothing is annotated the loss is 0, or for `dice` what
materials without a pixel give.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xctvol.model.card import Probability
from xctvol.pairs import IGNORE
from xctvol.stages.train.settings import Loss

__all__ = [
    "PROBABILITY",
    "LossOf",
    "balance",
    "binary_cross_entropy",
    "cross_entropy",
    "dice",
    "loss_called",
]

LossOf = Callable[[Tensor, Tensor], Tensor]

PROBABILITY: Mapping[Loss, Probability] = {
    "bce": "sigmoid", "cross-entropy": "softmax", "balanced": "softmax", "dice": "sigmoid",
}  # fmt: skip  # what each loss makes of logits

_NOTHING = 1e-6  # less than any pixel weighs
_HEAVIEST = 10.0  # times the weight of the most common material: a few pixels must not be all


def binary_cross_entropy(logits: Tensor, indices: Tensor) -> Tensor:
    """Each material against the rest, as in the reference: mean over materials and pixels."""
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), _planes(logits, indices), reduction="none"
    )
    annotated = indices != IGNORE
    return (losses.mean(1) * annotated).sum() / annotated.sum().clamp(min=1)


def cross_entropy(logits: Tensor, indices: Tensor, weights: Tensor | None = None) -> Tensor:
    """One material among all (softmax): mean over pixels, by the `weights` of their materials."""
    total = functional.cross_entropy(
        logits.float(), indices.long(), weights, ignore_index=IGNORE, reduction="sum"
    )
    annotated = indices != IGNORE
    if weights is None:
        return total / annotated.sum().clamp(min=1)
    counted = weights[indices.long().clamp(max=len(weights) - 1)] * annotated
    return total / counted.sum().clamp(min=_NOTHING)  # a number: a GPU need not be asked for it


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


def balance(pixels: Sequence[int]) -> Tensor:
    """Weights of materials with so many annotated pixels: 1 / sqrt(share), of the average pixel 1.

    Between pixels that all count alike, so that rare materials hardly matter, and materials that
    do, so that single pixels of rare ones decide. What is not annotated at all has no pixel to
    weigh.
    """
    counts = np.array(pixels, np.float64)
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    weights = np.minimum(weights, _HEAVIEST * weights.min())
    total = counts.sum()
    weights *= total / (weights * counts).sum() if total else 1
    return torch.tensor(weights, dtype=torch.float32)


def loss_called(name: Loss, pixels: Sequence[int], device: torch.device) -> LossOf:
    """The loss `name` for slices on which so many `pixels` of each material are annotated."""
    if name == "balanced":
        return partial(cross_entropy, weights=balance(pixels).to(device))
    return {"bce": binary_cross_entropy, "cross-entropy": cross_entropy, "dice": dice}[name]


def _planes(logits: Tensor, indices: Tensor) -> Tensor:
    """1 where a pixel is annotated as the material of its plane, else 0: like `logits`."""
    materials = torch.arange(logits.shape[1], device=logits.device)
    return (indices[:, None] == materials[:, None, None]).to(torch.float32)
