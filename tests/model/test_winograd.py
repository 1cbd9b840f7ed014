"""Convolutions with fewer products against torch's own in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import booleans, integers
from torch import nn
from torch.nn import functional

from xctvol.model import memory, winograd
from xctvol.model.networks import build
from xctvol.model.winograd import (
    MinimalConvolution,
    Shape,
    minimal_bytes,
    minimal_shape,
    minimize_products,
)


def convolution(channels_in, channels_out, dilation=1, *, bias=True, seed=0):
    torch.manual_seed(seed)
    layer = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=bias)
    nn.init.normal_(layer.weight, 0, (9 * channels_in) ** -0.5)
    return layer


def error(layer, images, found):
    """The largest one, against what float64 gives."""
    bias = None if layer.bias is None else layer.bias.double()
    d = layer.dilation[0]
    exact = functional.conv2d(images.double(), layer.weight.double(), bias, padding=d, dilation=d)
    assert found.shape == exact.shape
    return float(abs(found - exact).max())


@settings(deadline=None)
@given(
    height=integers(1, 40),
    width=integers(1, 40),
    channels=integers(1, 5),
    dilation=integers(1, 4),
    bias=booleans(),
    seed=integers(0, 99),
)
@torch.inference_mode()
def test_any_size_and_dilation_gives_what_a_convolution_gives(
    height, width, channels, dilation, bias, seed
):
    layer = convolution(channels, 3, dilation, bias=bias, seed=seed)
    images = torch.randn(2, channels, height, width)
    assert error(layer, images, MinimalConvolution(layer)(images)) < 5e-6


@pytest.mark.parametrize("tiles", [1, 7, 10_000])
@torch.inference_mode()
def test_however_many_tiles_are_made_at_a_time(tiles, monkeypatch):
    monkeypatch.setattr(winograd, "_TILES", tiles)
    layer = convolution(3, 4, 2)
    images = torch.randn(1, 3, 37, 22)
    assert error(layer, images, MinimalConvolution(layer)(images)) < 5e-6


@torch.inference_mode()
def test_it_rounds_as_little_as_torch_does():
    """Whose error is 1e-6 to 8e-6 here, by layout and threads; what they give has variance 1."""
    layer = convolution(256, 256, 2)
    images = torch.randn(1, 256, 32, 32)
    found = MinimalConvolution(layer)(images)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert error(layer, images, found) < 4e-6


def wide(**options):
    return nn.Conv2d(128, 256, **{"kernel_size": 3, "padding": 1, **options})


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (wide(), Shape(128, 256, 1)),
        (wide(padding=4, dilation=4, bias=False), Shape(128, 256, 4)),
        (wide(padding=24, dilation=24), None),
        (wide(padding=(1, 2), dilation=(1, 2)), None),
        (wide(padding=2), None),
        (wide(padding="same"), None),
        (wide(padding_mode="reflect"), None),
        (wide(stride=2), None),
        (wide(groups=2), None),
        (wide(kernel_size=1, padding=0), None),
        (nn.Conv2d(64, 256, 3, padding=1), None),
        (nn.utils.parametrizations.weight_norm(wide()), None),
        (nn.ConvTranspose2d(128, 128, 3, padding=1), None),
    ],
)
def test_only_plain_wide_convolutions_are_replaced(layer, shape):
    assert minimal_shape(layer) == shape
    body = nn.Sequential(layer)
    minimize_products(body)
    assert isinstance(body[0], MinimalConvolution) == (shape is not None)


def test_those_of_the_paper_network_are_replaced():
    with torch.device("meta"):
        body = build("fcn_resnet101", 6).body
    minimize_products(body)
    found = [layer for layer in body.modules() if isinstance(layer, MinimalConvolution)]
    # in blocks of 128, 256 and 512 channels, but for the one with a stride, and the head's
    assert len(found) == 3 + 23 + 3 + 1


@pytest.mark.parametrize("dilation", [1, 2, 4])
@torch.inference_mode()
def test_it_takes_no_more_memory_than_planned(dilation):
    layer = convolution(128, 160, dilation)
    minimal, images = MinimalConvolution(layer), torch.randn(1, 128, 150, 170)
    with memory._LiveStorages() as live:
        found = minimal(images)
    took = max(live.nbytes) - images.nbytes - found.nbytes
    planned = minimal_bytes([(minimal_shape(layer), 170)])
    planned -= minimal.kernel.nbytes - layer.weight.nbytes
    assert 0.5 * planned < took <= planned
