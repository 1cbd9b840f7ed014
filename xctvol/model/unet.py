"""A small U-Net of our own: half a million weights, for scans where minutes on a CPU must do."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UNet"]

_WIDTHS = (16, 32, 64, 128)
_STRIDE = 2 ** (len(_WIDTHS) - 1)


class _Convolutions(nn.Sequential):
    """Twice: 3x3 convolution, ReLU.

    There is no normalization. That of batches takes the materials of a crop for lighter or darker
    where it happens to show much of one, so that it wants large batches, and few steps are left in
    the same time. Weights begin at the size that keeps the variance from layer to layer instead
    (He et al. 2015).
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for inputs in (channels_in, channels):
            convolution = nn.Conv2d(inputs, channels, 3, padding=1)
            # an outline has nothing to begin with, and torch would import its compiler to see that
            if not convolution.weight.is_meta:
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            convolution.bias = nn.Parameter(torch.zeros(channels))
            layers += [convolution, nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """Slices (n, 1, y, x) of any size to logits (n, materials, y, x).

    Four levels of 16, 32, 64 and 128 channels. On the way up the channels are halved before
    they are enlarged and then added to the level's own, rather than appended: a third less
    work than the U-Net of Ronneberger et al. (2015).
    """

    def __init__(self, materials: int) -> None:
        super().__init__()
        inputs = (1, *_WIDTHS[:-1])
        self.down = nn.ModuleList(map(_Convolutions, inputs, _WIDTHS))
        self.halve = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for narrow, wide in pairwise(_WIDTHS))
        self.up = nn.ModuleList(_Convolutions(width, width) for width in _WIDTHS[:-1])
        self.out = nn.Conv2d(_WIDTHS[0], materials, 1)

    def forward(self, slices: Tensor) -> Tensor:
        height, width = slices.shape[-2:]
        margins = (0, -width % _STRIDE, 0, -height % _STRIDE)
        x = functional.pad(slices, margins, mode="replicate")
        levels: list[Tensor] = []
        for convolutions in self.down:
            x = convolutions(functional.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for level in reversed(range(len(self.up))):
            wide = functional.interpolate(
                self.halve[level](x), scale_factor=2.0, mode="bilinear", align_corners=False
            )
            x = self.up[level](torch.add(levels[level], wide))
        return self.out(x)[..., :height, :width]
