"""The statistics of batch normalization: of each slice by itself, or collected anew.

After short training with small batches the running statistics lag behind the weights, and a
network that relies on them loses accuracy without any error. Two remedies: take the statistics of
the slice at hand (deterministic for one slice at a time), or collect them again over the training
images once the weights stand still.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from xctvol.model.networks import Network

__all__ = ["has_batch_norm", "recalibrate", "use_batch_statistics"]


def has_batch_norm(body: nn.Module) -> bool:
    """Whether any layer normalizes with statistics of a batch."""
    return bool(_layers(body))


def use_batch_statistics(body: nn.Module) -> None:
    """Let every batch normalization use the statistics of its input, even in evaluation mode."""
    for layer in _layers(body):
        layer.track_running_stats = False
        layer.running_mean = None
        layer.running_var = None


@torch.no_grad()
def recalibrate(network: Network, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by their plain mean over `batches` (n, 1, y, x)."""
    network.body.eval()  # dropout stays off
    layers = _layers(network.body)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to ask for the mean of all batches
        layer.train()
    for batch in batches:
        network.logits(batch)
    network.body.eval()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _layers(body: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in body.modules() if isinstance(layer, nn.BatchNorm2d)]
