"""Gradient checkpointing: layers that keep their input only, and are computed twice.

Most of the memory of a training step is what layers keep for the backward pass. Computed again
when they are needed, weights and statistics come out the same, bit for bit, for the time of one
more forward pass.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xctvol.errors import UsageError
from xctvol.model.unet import UNet

__all__ = ["recompute_layers"]

_COUNT = "num_batches_tracked"
_Contexts = tuple[AbstractContextManager[None], AbstractContextManager[None]]


def recompute_layers(body: nn.Module) -> None:
    """Let the layers of `body` be computed again in the backward pass, in place.

    That is our U-Net level by level, and the backbones of torchvision block by block. Raises
    UsageError for any other network, whose layers are not known.
    """
    for layer in _layers(body):
        twice = partial(_computed_twice, layer, layer.forward)
        layer.forward = twice  # not a layer around it: names of weights stay


def _layers(body: nn.Module) -> Iterator[nn.Module]:
    if isinstance(body, UNet):
        yield from (*body.down, *body.up)
        return
    backbone = getattr(body, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise UsageError(
            "checkpointing knows the layers of unet and of torchvision's networks only; "
            "do it in the factory of your own, or train on smaller crops"
        )
    for stage in backbone.children():
        # single layers may work in place on their input, which would be gone the second time
        blocks = stage.children() if type(stage) is nn.Sequential else [stage]
        yield from (block for block in blocks if any(True for _ in block.children()))


def _computed_twice(layer: nn.Module, forward: Any, x: Tensor) -> Any:
    if not torch.is_grad_enabled():
        return forward(x)
    return checkpoint(forward, x, use_reentrant=False, context_fn=partial(_contexts, layer))


def _contexts(layer: nn.Module) -> _Contexts:
    """For the first and for the second computation."""
    return nullcontext(), _statistics_left_alone(layer)


@contextmanager
def _statistics_left_alone(layer: nn.Module) -> Iterator[None]:
    """Batch normalization would take each batch into its running statistics twice."""
    norms = [m for m in layer.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = {
        name: tensor.clone() for name, tensor in layer.named_buffers() if name.endswith(_COUNT)
    }
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for name, tensor in layer.named_buffers():
            if name in counts:
                tensor.copy_(counts[name])
