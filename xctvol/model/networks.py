"""Networks by name: our own two, torchvision's segmentation builders, or anybody's factory."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from xctvol.errors import UsageError
from xctvol.model.fcn import DEPTHS, FCN
from xctvol.model.unet import UNet

__all__ = [
    "Network",
    "build",
    "first_mismatch",
    "fold_batch_norm",
    "known_architectures",
    "outline",
    "scaled_size",
    "take_one_channel",
    "unfilled",
    "weight_bytes",
]


@dataclass(frozen=True)
class Network:
    """A module that turns slices into logits, and how to call it.

    `body` holds the weights, under the names of its own library. It takes (n, channels, y, x);
    where `channels` is 3 the slice is repeated. `coarse` gives its logits before the last
    enlargement to the size of the slice (bilinear, align_corners=False), or is None where there
    is no such step. `ordered` says that layers are only called, and as they are registered: each
    batch normalization follows the convolution before it, which folding relies on, and nobody
    else reads the weights of a convolution, which replacing it relies on.
    """

    body: nn.Module
    channels: int
    coarse: Callable[[Tensor], Tensor] | None
    ordered: bool

    def logits(self, slices: Tensor) -> Tensor:
        """(n, 1, y, x) -> (n, materials, y, x)."""
        return _tensor(self.body(self._repeat(slices)))

    def coarse_logits(self, slices: Tensor) -> Tensor:
        """(n, 1, y, x) -> (n, materials, y', x') at the network's own resolution."""
        return self.logits(slices) if self.coarse is None else self.coarse(self._repeat(slices))

    def _repeat(self, slices: Tensor) -> Tensor:
        return slices.expand(-1, self.channels, -1, -1)


def known_architectures() -> tuple[str, ...]:
    """The names `build` knows, besides package.module:factory."""
    return ("unet", *_torchvision_names())


def _torchvision_names() -> tuple[str, ...]:
    from torchvision import models  # seconds to import, and not needed for our own networks

    return tuple(models.list_models(module=models.segmentation))


def build(architecture: str, materials: int) -> Network:
    """An untrained network with `materials` outputs; nothing is ever downloaded.

    `architecture` is `unet` (ours), the name of a torchvision segmentation builder, or
    `package.module:factory`, a function of the number of materials that returns a module taking
    (n, 1, y, x) and returning logits (n, materials, y, x), or a dict with them under "out".
    Raises UsageError for an unknown name, and for a factory that cannot be imported or called.
    """
    if architecture == "unet":
        return Network(UNet(materials), channels=1, coarse=None, ordered=True)
    if architecture in DEPTHS:
        fcn = FCN(DEPTHS[architecture], materials)
        return Network(fcn, channels=3, coarse=fcn.coarse, ordered=True)
    if ":" in architecture:
        return Network(_imported(architecture, materials), channels=1, coarse=None, ordered=False)
    if architecture in _torchvision_names():
        return _torchvision(architecture, materials)
    raise UsageError(
        f"there is no architecture {architecture!r}; known are "
        f"{', '.join(known_architectures())}, and package.module:factory"
    )


def outline(architecture: str, materials: int) -> Network:
    """The network without memory for its weights: shapes only, on torch's meta device."""
    with torch.device("meta"):
        return build(architecture, materials)


def unfilled(architecture: str, materials: int) -> Network:
    """The network with memory for its weights, whatever is in there: made in no time."""
    if ":" in architecture:  # it may hold tensors that are no weights, which must be what they are
        return build(architecture, materials)
    network = outline(architecture, materials)
    shapes = network.body.state_dict().items()
    nothing = {name: torch.empty(t.shape, dtype=t.dtype) for name, t in shapes}
    network.body.load_state_dict(nothing, assign=True)
    return network


@lru_cache
def weight_bytes(architecture: str, materials: int) -> int:
    """Bytes of a network's weights and buffers."""
    state = outline(architecture, materials).body.state_dict()
    return sum(tensor.nbytes for tensor in state.values())


def _torchvision(name: str, materials: int) -> Network:
    from torchvision import models

    options: dict[str, Any] = {"weights": None, "weights_backbone": None}
    if not name.startswith("lraspp"):  # which has no auxiliary head
        options["aux_loss"] = False
    body = models.get_model(name, num_classes=materials, **options)

    def coarse(slices: Tensor) -> Tensor:
        features = body.backbone(slices)
        return body.classifier(features if name.startswith("lraspp") else features["out"])

    return Network(body, channels=3, coarse=coarse, ordered=True)


def _imported(architecture: str, materials: int) -> nn.Module:
    module, _, name = architecture.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names or "__" in module:
        raise UsageError(
            f"{architecture} is no network: model files may come from anybody, so nothing of "
            "Python's own modules is called for them"
        )
    try:
        body = getattr(import_module(module), name)(materials)
    except Exception as error:  # anybody's code raises anything at all
        raise UsageError(f"cannot make the network {architecture}: {error}") from error
    if not isinstance(body, nn.Module):
        raise UsageError(f"{architecture} returned {type(body).__name__}, not a torch module")
    return body


def _tensor(result: Any) -> Tensor:
    return result["out"] if isinstance(result, Mapping) else result


def first_mismatch(body: nn.Module, weights: Mapping[str, tuple[int, ...]]) -> str | None:
    """What keeps weights of these shapes from fitting `body`, or None where they fit."""
    wanted = {name: tuple(tensor.shape) for name, tensor in body.state_dict().items()}
    for name, shape in wanted.items():
        if name not in weights:
            return f"{name} is missing"
        if tuple(weights[name]) != shape:
            return f"{name} has shape {tuple(weights[name])}, not {shape}"
    extra = sorted(set(weights) - set(wanted))
    return f"{extra[0]} is not part of the network" if extra else None


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size (y, x) of a slice as a network sees it: rounded down, as the reference does."""
    return (max(1, int(scale * size[0])), max(1, int(scale * size[1])))


def take_one_channel(network: Network) -> Network:
    """The network with a first layer that takes the slice once, changed in place.

    Where all channels show the same slice, with the same margin of zeros, a convolution of them
    is that of one channel with the sum of the weights, at the border too.
    """
    if network.channels == 1:
        return network
    body = network.body
    name, stem = next((n, m) for n, m in body.named_modules() if isinstance(m, nn.Conv2d))
    assert stem.in_channels == network.channels, name
    stem.weight = nn.Parameter(stem.weight.double().sum(1, keepdim=True).float())
    stem.in_channels = 1
    return replace(network, channels=1)


def fold_batch_norm(body: nn.Module) -> None:
    """Fold each batch normalization in evaluation mode into the convolution before it, in place.

    Equal to rounding: a convolution's output is scaled and shifted per channel either way. The
    weights are computed in float64, so that they are rounded once.
    """
    for parent in body.modules():
        before: tuple[str, nn.Module] | None = None
        for name, child in list(parent.named_children()):
            if before and isinstance(before[1], nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(before[1].double(), child.double())
                setattr(parent, before[0], fused.float())
                setattr(parent, name, nn.Identity())
            before = (name, child)
