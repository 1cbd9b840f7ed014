"""Fully convolutional ResNets (Long et al. 2015, He et al. 2016), the networks of the paper.

They are torchvision's `fcn_resnet50` and `fcn_resnet101`: the names of all weights, how these
begin, and what comes out are the same. Importing torchvision imports the compiler of torch, which
takes seconds in each process.
"""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DEPTHS", "FCN"]

DEPTHS = {"fcn_resnet50": (3, 4, 6, 3), "fcn_resnet101": (3, 4, 23, 3)}
"""Blocks in each of the four stages."""

_WIDTHS = (64, 128, 256, 512)
_STRIDES = (1, 2, 1, 1)
_DILATIONS = ((1, 1), (1, 1), (1, 2), (2, 4))  # of the first block, and of the others
_WIDER = 4  # a block's output than its inner convolutions


class FCN(nn.Module):
    """Slices (n, 3, y, x) of any size to logits (n, materials, y, x)."""

    def __init__(self, depths: tuple[int, ...], materials: int) -> None:
        super().__init__()
        self.backbone = _ResNet(depths)
        inputs = _WIDER * _WIDTHS[-1]
        inner = inputs // 4
        self.classifier = nn.Sequential(
            nn.Conv2d(inputs, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inner, materials, 1),
        )

    def coarse(self, slices: Tensor) -> Tensor:
        """Logits at an eighth of the size, rounded up."""
        logits: Tensor = self.classifier(self.backbone(slices))
        return logits

    def forward(self, slices: Tensor) -> Tensor:
        size = slices.shape[-2:]
        coarse = self.coarse(slices)
        return functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)


class _ResNet(nn.Sequential):
    """All but the last two layers; dilated instead of strided in the last two stages."""

    def __init__(self, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = _WIDTHS[0]
        stages = zip(depths, _WIDTHS, _STRIDES, _DILATIONS, strict=True)
        for number, (depth, width, stride, (first, rest)) in enumerate(stages, 1):
            blocks = [_Block(inputs, width, stride, first)]
            inputs = _WIDER * width
            blocks += [_Block(inputs, width, 1, rest) for _ in range(1, depth)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        for layer in self.modules():
            # an outline has nothing to begin with, and torch would import its compiler to see that
            if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class _Block(nn.Module):
    """Narrower, across, wider, and what came in added."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = _WIDER * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        inner += x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(inner)
        return out
