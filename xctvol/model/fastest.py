"""A network in the form that predicts fastest, equal to the plain one up to rounding."""

import torch
from torch import nn

from xctvol.model.devices import HALVES, Precision
from xctvol.model.networks import Network, fold_batch_norm, take_one_channel
from xctvol.model.norms import use_batch_statistics
from xctvol.model.winograd import minimize_products

__all__ = ["fastest"]


def fastest(
    network: Network, device: torch.device, precision: Precision, *, batch_statistics: bool = False
) -> Network:
    """The network in evaluation mode on `device`, changed in place.

    One of three channels, which would see the same slice three times, gets a first layer for one.
    Batch normalization with stored statistics is folded into the convolutions; with
    `batch_statistics` it takes those of its input, for one slice at a time. On a CPU in fp32, where
    multiplications are all that counts, large convolutions do with fewer. Weights of convolutions
    are in the `precision`, to which they would be rounded again for each slice.
    """
    network.body.eval()
    network = take_one_channel(network)
    if batch_statistics:
        use_batch_statistics(network.body)
    elif network.ordered:
        fold_batch_norm(network.body)
    if network.ordered and device.type == "cpu" and precision == "fp32":
        minimize_products(network.body)
    if network.ordered and precision in HALVES:
        _round_weights(network.body, HALVES[precision])
    network.body.to(memory_format=torch.channels_last).to(device)
    return network


def _round_weights(body: nn.Module, dtype: torch.dtype) -> None:
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(dtype)
