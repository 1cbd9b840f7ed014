"""A network of one's own: `xctvol train ... --architecture dilated_network:dilated`.

Any module on Python's path will do (here: `PYTHONPATH=examples`). The function gets the number of
materials and returns a torch module that takes slices (n, 1, y, x) and returns logits
(n, materials, y, x). Its name goes into the model file; its weights do too, its code does not.
"""

from itertools import pairwise

from torch import Tensor, nn

_CHANNELS = (1, 16, 16, 16, 16)


def dilated(materials: int) -> nn.Module:
    """Full resolution throughout: each layer looks twice as far as the one before."""
    return _Dilated(materials)


class _Dilated(nn.Module):
    def __init__(self, materials: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for depth, (inputs, outputs) in enumerate(pairwise(_CHANNELS)):
            reach = 2**depth
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=reach, dilation=reach, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv2d(_CHANNELS[-1], materials, 1)

    def forward(self, slices: Tensor) -> Tensor:
        return self.out(self.layers(slices))
