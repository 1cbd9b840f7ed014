"""From logits at the networks' own resolution to one label a pixel, without full-size logits.

The plain way, enlarge everything and compare, spends most of its time and memory on logits that
live for an instant. Here they are enlarged material by material, on a CPU in bands of rows too,
and a rule sees one material at a time: the largest so far is all it keeps.

A rule works on log odds. For one model they are its logits, or those of its softmax. Several
models decide by the mean of their probabilities p = sigmoid(log odds), whose log odds are
log(mean p) - log(mean (1 - p)).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from xctvol.errors import UsageError
from xctvol.materials import UNLABELLED, Materials
from xctvol.model.overlaps import overlaps

if TYPE_CHECKING:
    from xctvol.model.card import Decode  # cards bring volumes; on the device only torch is needed

__all__ = [
    "LARGEST_ODDS",
    "Largest",
    "LargestReached",
    "Rule",
    "Sum",
    "decoded",
    "decoded_in_bands",
    "enlarged",
    "index_rule_of",
    "probabilities",
    "rule_of",
]

_BAND = 64  # rows at a time: a band of a 2560 pixel wide slice stays in a core's cache
LARGEST_ODDS = 80.0  # beyond it float32 has no 1 - p, however far from 1 that is

Rule = Callable[[Iterable[Tensor]], Tensor]
"""Log odds of each material in turn, equal shapes, theirs to overwrite -> uint8 of that shape."""


@dataclass(frozen=True)
class Largest:
    """Of each pixel the value of the material with the largest log odds; of equal ones the first.

    `values` holds one value a material.
    """

    values: tuple[int, ...]

    def __call__(self, odds: Iterable[Tensor]) -> Tensor:
        return _largest(self.values, odds)[0]


@dataclass(frozen=True)
class LargestReached:
    """The material that exceeds its threshold most, by log odds; `none` where none reaches it.

    `least` holds the log odds of each threshold: sigmoid(x) >= t is x >= log(t / (1 - t)).
    """

    values: tuple[int, ...]
    least: tuple[float, ...]
    none: int = UNLABELLED

    def __call__(self, odds: Iterable[Tensor]) -> Tensor:
        above = (plane.sub_(least) for plane, least in zip(odds, self.least, strict=True))
        out, best = _largest(self.values, above)
        return out.masked_fill_(best < 0, self.none)


@dataclass(frozen=True)
class Sum:
    """The sum, modulo 256, of the values of all materials that reach their thresholds."""

    values: tuple[int, ...]
    least: tuple[float, ...]

    def __call__(self, odds: Iterable[Tensor]) -> Tensor:
        reached = (
            (plane >= least).to(torch.uint8).mul_(value)
            for plane, least, value in zip(odds, self.least, self.values, strict=True)
        )
        out = next(reached)
        for plane in reached:
            out.add_(plane)  # uint8 wraps
        return out


def _largest(values: Sequence[int], odds: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Value of the largest, and the largest."""
    planes = iter(odds)
    best = next(planes)
    out = torch.full_like(best, values[0], dtype=torch.uint8)
    for value, plane in zip(values[1:], planes, strict=True):
        out.masked_fill_(plane > best, value)
        torch.maximum(best, plane, out=best)
    return out, best


def rule_of(decode: "Decode", materials: Materials) -> Rule:
    """The rule called `decode`, which gives label values.

    Raises InputError where sums of labels would not tell which materials they stand for.
    """
    labels = materials.labels
    if decode == "argmax":
        return Largest(labels)
    least = _least(materials)
    if decode == "threshold":
        return LargestReached(labels, least)
    overlaps(materials)
    return Sum(labels, least)


def index_rule_of(decode: "Decode", materials: Materials) -> Rule:
    """As `rule_of`, but it gives indices of materials, and their number where there is none.

    Raises UsageError for sums of labels, which may name several materials.
    """
    indices = tuple(range(len(materials)))
    if decode == "argmax":
        return Largest(indices)
    if decode == "threshold":
        return LargestReached(indices, _least(materials), none=len(materials))
    raise UsageError(
        "sums of labels may name several materials for a pixel; decode by argmax or threshold"
    )


def _least(materials: Materials) -> tuple[float, ...]:
    return tuple(math.log(m.threshold / (1 - m.threshold)) for m in materials)


def decoded(coarse: Sequence[Tensor], size: tuple[int, int], rule: Rule) -> Tensor:
    """Logits (n, k, y', x') of each model -> what `rule` makes of them, uint8 (n, y, x).

    Only one material at a time is enlarged.
    """
    if coarse[0].device.type == "cpu":
        return decoded_in_bands(coarse, size, rule)
    return rule(
        _together([_own(logits[:, k : k + 1], size)[:, 0] for logits in coarse])
        for k in range(coarse[0].shape[1])
    )


def _own(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return logits.clone() if tuple(logits.shape[-2:]) == size else enlarged(logits, size)


def enlarged(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """`coarse` (n, k, y', x') at `size` (y, x), as the networks of torchvision enlarge it."""
    if tuple(coarse.shape[-2:]) == size:
        return coarse
    return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)


def probabilities(coarse: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Mean over the models of each material's probability: float32 (n, k, y, x)."""
    total = enlarged(coarse[0], size).sigmoid()
    for logits in coarse[1:]:
        total.add_(enlarged(logits, size).sigmoid())
    return total.div_(len(coarse))


def _together(logits: Sequence[Tensor]) -> Tensor:
    """Log odds of the mean probability of several models."""
    if len(logits) == 1:
        return logits[0]
    held = torch.stack(tuple(logits)).clamp_(-LARGEST_ODDS, LARGEST_ODDS)
    return torch.sigmoid(held).sum(0).div_(torch.sigmoid(-held).sum(0)).log_()


def decoded_in_bands(coarse: Sequence[Tensor], size: tuple[int, int], rule: Rule) -> Tensor:
    """The same as `decoded`, several times faster on a CPU."""
    wide = [enlarged(logits, (logits.shape[-2], size[1])) for logits in coarse]
    return torch.stack([_in_bands(slices, size, rule) for slices in zip(*wide, strict=True)])


def _in_bands(planes: Sequence[Tensor], size: tuple[int, int], rule: Rule) -> Tensor:
    """(k, y', x) of each model -> (y, x), enlarging rows only; most of the work happens here."""
    out = torch.empty(size, dtype=torch.uint8)
    rows = [_Rows(logits.shape[-2], size[0]) for logits in planes]
    for start in range(0, size[0], _BAND):
        band = slice(start, min(start + _BAND, size[0]))
        out[band] = rule(_odds(planes, rows, band))
    return out


def _odds(planes: Sequence[Tensor], rows: "Sequence[_Rows]", band: slice) -> Iterator[Tensor]:
    for materials in zip(*planes, strict=True):
        yield _together([r.enlarge(plane, band) for r, plane in zip(rows, materials, strict=True)])


class _Rows:
    """Bilinear weights along one axis, in the float32 arithmetic of torch's interpolate."""

    def __init__(self, rows: int, size: int) -> None:
        scale = torch.tensor(rows, dtype=torch.float32) / size
        position = (torch.arange(size, dtype=torch.float32).add_(0.5) * scale - 0.5).clamp_(min=0)
        self._same = rows == size
        self._low = position.long().clamp_(max=rows - 1)
        self._high = (self._low + 1).clamp_(max=rows - 1)
        self._upper = (position - self._low).clamp_(0, 1)[:, None]
        self._lower = 1 - self._upper

    def enlarge(self, plane: Tensor, band: slice) -> Tensor:
        """Rows `band` of the enlarged plane, in memory of their own."""
        if self._same:
            return plane[band].clone()
        values = plane[self._low[band]].mul_(self._lower[band])
        return values.addcmul_(plane[self._high[band]], self._upper[band])
