"""Wide 3 x 3 convolutions on a processor, one thread: torch's own against those of segment.

    python benchmarks/convolutions.py

Prints Markdown: processor time, the best of some rounds, and the largest error against float64, of
results with variance 1. Shapes are those of fcn_resnet101 for slices of 512 x 512; one is left to
torch, as the last column says.
"""

import argparse
import time

import torch
from torch import nn

from xctvol.model.winograd import MinimalConvolution, minimal_shape

SHAPES = (  # channels in and out, how much smaller than a slice its image is, dilation
    (64, 64, 4, 1), (128, 128, 8, 1), (256, 256, 8, 2), (512, 512, 8, 4), (2048, 512, 8, 1),
)  # fmt: skip  # one a layer


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=512, help="of slices")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| channels | dilation | torch, ms | ours, ms | error of torch | ours | used |\n"
        + 7 * "|---"
        + "|"
    )
    for channels_in, channels_out, smaller, dilation in SHAPES:
        torch.manual_seed(0)
        side = arguments.side // smaller
        layer = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)
        layer.weight.normal_(0, (9 * channels_in) ** -0.5)
        images = torch.randn(1, channels_in, side, side).to(memory_format=torch.channels_last)
        exact = layer.double()(images.double())
        layer.float().to(memory_format=torch.channels_last)
        contestants = layer, MinimalConvolution(layer)
        times, errors = zip(
            *(measured(each, images, exact, arguments.rounds) for each in contestants), strict=True
        )
        used = "yes" if minimal_shape(layer) else "no"
        print(f"| {channels_in} to {channels_out} | {dilation} | {times[0]:.1f} | {times[1]:.1f} "
              f"| {errors[0]:.1e} | {errors[1]:.1e} | {used} |")  # fmt: skip


def measured(layer, images, exact, rounds):
    """Milliseconds of processor time, and the largest error."""
    error = float(abs(layer(images) - exact).max())
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        layer(images)
        best = min(best, time.process_time() - start)
    return 1000 * best, error


if __name__ == "__main__":
    main()
