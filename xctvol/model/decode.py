"""From logits at the network's own resolution to one material a pixel, without full-size logits.

The plain way, enlarge everything and take argmax, spends most of its time and memory on logits
that live for an instant. Here rows are enlarged in bands, one material after the other, and only
the largest logit so far is kept.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["largest", "largest_in_bands"]

_BAND = 64  # rows at a time: a band of a 2560 pixel wide slice stays in a core's cache


def largest(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """Index of each pixel's largest logit, the plain way: (n, k, y', x') -> uint8 (n, y, x)."""
    return enlarged(coarse, size).argmax(1).to(torch.uint8)


def enlarged(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """`coarse` (n, k, y', x') at `size` (y, x), as the networks of torchvision enlarge it."""
    if tuple(coarse.shape[-2:]) == size:
        return coarse
    return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)


def largest_in_bands(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """The same as `largest`, several times faster on a CPU; of equal logits the first wins."""
    if tuple(coarse.shape[-2:]) == size:
        return torch.stack([_in_bands(planes, size) for planes in coarse])
    wide = enlarged(coarse, (coarse.shape[-2], size[1]))
    return torch.stack([_in_bands(planes, size) for planes in wide])


def _in_bands(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """(k, y', x) -> (y, x), enlarging rows only; most of the work happens here."""
    out = torch.zeros(size, dtype=torch.uint8)
    rows = _Rows(planes.shape[-2], size[0])
    for start in range(0, size[0], _BAND):
        band = slice(start, min(start + _BAND, size[0]))
        best = rows.enlarge(planes[0], band)
        for index in range(1, len(planes)):
            values = rows.enlarge(planes[index], band)
            out[band].masked_fill_(values > best, index)
            torch.maximum(best, values, out=best)
    return out


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
