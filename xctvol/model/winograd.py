"""Convolutions of 3 x 3 with 16 multiplications for 4 pixels, where the plain way has 36.

Winograd's minimal filtering F(2 x 2, 3 x 3), see Lavin & Gray 2016, "Fast algorithms for
convolutional neural networks". Tiles of 4 x 4 pixels, 2 apart, become B^T tile B, kernels become
G kernel G^T; these are multiplied element by element and summed over channels, which is 16
products of matrices, and A^T sum A are 2 x 2 pixels of the result:

    B^T = 1  0 -1  0    G =   1    0    0    A^T = 1  1  1  0
          0  1  1  0        1/2  1/2  1/2          0  1 -1 -1
          0 -1  1  0        1/2 -1/2  1/2
          0  1  0 -1          0    0    1

A convolution of dilation d is one of each of the d x d images that every d-th pixel makes. Sums are
a ninth as long as in the plain way, so that rounding is no worse than there. Tiles of 6 x 6 would
need little more than half the products, but would round two to four times as much.

On a GPU cuDNN does that where it pays; on a CPU torch does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["MinimalConvolution", "Shape", "minimal_bytes", "minimal_shape", "minimize_products"]

_G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_TILES = 256  # at a time, at least: few enough for a cache, enough for fast products
_FEWEST_CHANNELS = 128  # with fewer, what is saved goes into making and reading tiles
_LARGEST_DILATION = 4  # beyond it images get a margin of half their size, and tiles are many


@dataclass(frozen=True)
class Shape:
    """Of a convolution, but for its kernel of 3 x 3."""

    channels_in: int
    channels_out: int
    dilation: int

    def tile_bytes(self, width: int) -> int:
        """Bytes of the tiles of an image of `width` pixels that are made at a time.

        Of each 4 pixels with a margin, sums half-way, 16 products, their sums, and 4 results.
        """
        d = self.dilation
        tiles = max(_TILES, d * d * -(-width // (2 * d)))
        return 4 * tiles * ((8 + 16 + 16) * self.channels_in + (16 + 4) * self.channels_out)


def minimal_shape(layer: nn.Module) -> Shape | None:
    """The shape of a convolution that is faster with fewer products; None for other layers."""
    if (
        type(layer) is not nn.Conv2d
        or layer.kernel_size != (3, 3)
        or layer.stride != (1, 1)
        or layer.padding != layer.dilation
        or layer.padding_mode != "zeros"
        or layer.groups != 1
    ):
        return None
    shape = Shape(layer.in_channels, layer.out_channels, max(layer.dilation))
    wide = min(shape.channels_in, shape.channels_out) >= _FEWEST_CHANNELS
    even = layer.dilation == (shape.dilation, shape.dilation)
    return shape if wide and even and shape.dilation <= _LARGEST_DILATION else None


def minimize_products(body: nn.Module) -> None:
    """Replace the convolutions of `body` that are faster so, on a CPU, in fp32.

    They must only be called: nobody may read their weights.
    """
    for parent in body.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and minimal_shape(child):
                setattr(parent, name, MinimalConvolution(child))


def minimal_bytes(replaced: Iterable[tuple[Shape, int]]) -> int:
    """Bytes that replacing convolutions adds, each given with the width of its images in pixels.

    Kernels become 16 / 9 as large, and one convolution at a time has its tiles.
    """
    kernels, tiles = 0, 0
    for shape, width in replaced:
        kernels += 4 * (16 - 9) * shape.channels_in * shape.channels_out
        tiles = max(tiles, shape.tile_bytes(width))
    return kernels + tiles


class MinimalConvolution(nn.Module):
    """What a 3 x 3 convolution of stride 1 with a margin of zeros gives, for float32 on a CPU."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self._dilation = layer.dilation[0]
        g = torch.tensor(_G, dtype=torch.float64)
        kernel = torch.einsum("ia,kcab,jb->ijck", g, layer.weight.detach().double(), g)
        self.register_buffer("kernel", kernel.flatten(0, 1).float().contiguous())
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
        self.register_buffer("bias", bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, k, y, x), both channels_last."""
        n, _, *size = x.shape
        out = x.new_empty((n, *size, self.kernel.shape[-1]))
        for image, result in zip(x.permute(0, 2, 3, 1), out, strict=True):
            self._fill(image, result)
        return out.permute(0, 3, 1, 2)

    def _fill(self, image: Tensor, result: Tensor) -> None:
        """(y, x, c) -> (y, x, k), some rows of tiles at a time."""
        d, (height, width) = self._dilation, image.shape[:2]
        down, across = (-(-size // (2 * d)) for size in (height, width))
        rows = min(down, max(1, _TILES // (d * d * across)))
        products, sums = (
            image.new_empty(16 * rows * d * d * across * channels)
            for channels in self.kernel.shape[1:]
        )
        for first in range(0, down, rows):
            shape = (min(rows, down - first), d, across, d)
            count = shape[0] * d * d * across
            tiles = _with_margin(image, 2 * d * first - d, shape)
            parts = products[: 16 * count * image.shape[-1]].view(4, 4, *shape, -1)
            _spread(tiles, parts)
            part_sums = sums[: 16 * count * result.shape[-1]].view(16, count, -1)
            torch.bmm(parts.view(16, count, -1), self.kernel, out=part_sums)
            found = _gathered(part_sums.view(4, 4, *shape, -1))
            below = result[2 * d * first :][: len(found)]
            torch.add(found[: len(below), :width], self.bias, out=below)


def _with_margin(image: Tensor, top: int, shape: tuple[int, int, int, int]) -> Tensor:
    """Rows from `top`, with zeros around the image, for `shape` (down, d, across, d) tiles.

    Pixels are (2 down + 2, d, 2 across + 2, d, c): every second index is an image of its own.
    """
    down, d, across, _ = shape
    wide = image.new_zeros(((2 * down + 2) * d, (2 * across + 2) * d, image.shape[-1]))
    start, stop = max(0, top), min(len(image), top + len(wide))
    wide[start - top : stop - top, d : d + image.shape[1]] = image[start:stop]
    return wide.view(2 * down + 2, d, 2 * across + 2, d, -1)


def _spread(tiles: Tensor, out: Tensor) -> None:
    """B^T tile B of all tiles, in `out` (4, 4, down, d, across, d, c)."""
    down, across = out.shape[2], out.shape[4]
    halfway = tiles.new_empty((4, down, *tiles.shape[1:]))
    _differences([tiles[i : i + 2 * down - 1 : 2] for i in range(4)], halfway)
    for rows, part in zip(halfway, out, strict=True):
        _differences([rows[:, :, i : i + 2 * across - 1 : 2] for i in range(4)], part)


def _differences(lines: Sequence[Tensor], out: Tensor) -> None:
    torch.sub(lines[0], lines[2], out=out[0])
    torch.add(lines[1], lines[2], out=out[1])
    torch.sub(lines[2], lines[1], out=out[2])
    torch.sub(lines[1], lines[3], out=out[3])


def _gathered(sums: Tensor) -> Tensor:
    """A^T sum A of `sums` (4, 4, down, d, across, d, k), which are lost: pixels (y, x, k)."""
    down, d, across, _, k = sums.shape[2:]
    out = sums.new_empty((down, 2, d, across, 2, d, k))
    sums[0].add_(sums[1]).add_(sums[2])
    sums[1].sub_(sums[2]).sub_(sums[3])
    for row in range(2):
        line, pixels = sums[row], out[:, row]
        torch.add(line[0], line[1], out=pixels[:, :, :, 0]).add_(line[2])
        torch.sub(line[1], line[2], out=pixels[:, :, :, 1]).sub_(line[3])
    return out.view(2 * down * d, 2 * across * d, k)
