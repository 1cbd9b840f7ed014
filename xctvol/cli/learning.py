"""Options of training, which `train` and `study` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Accumulate",
    "Architecture",
    "Batch",
    "Checkpointing",
    "Crop",
    "Jitter",
    "LearningRate",
    "Loss",
    "PairsFolder",
    "Patience",
    "Scale",
    "Schedule",
    "Seed",
    "SplitBy",
    "Validation",
    "Weights",
]

PairsFolder = Annotated[
    Path,
    typer.Argument(
        help="Folder with images/ and masks/ of the same names (masks, ImageJ outlines, or an "
        "unpacked CVAT export), or with a folder of that kind for each scan.",
        metavar="PAIRS",
    ),
]
Architecture = Annotated[
    str,
    typer.Option(
        help="A torchvision segmentation network, unet (ours, small: for CPUs), or "
        "package.module:factory.",
        metavar="NAME",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Start from the weights in this .pth or .safetensors file; the last layers start at "
        "random where they were trained for other materials. Nothing is ever downloaded.",
        metavar="FILE",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of splits, weights and order.")]
Crop = Annotated[
    int | None,
    typer.Option(
        help="Train on random squares of so many pixels, not on whole slices (0). By default 64 "
        "for unet, otherwise 0."
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="Squares a step (with --crop). By default 8 for unet, otherwise 1."),
]
Scale = Annotated[
    float,
    typer.Option(
        help="Let the network see slices at this share of their size, as 0.25, where materials are "
        "known by their surroundings; labels come back at full size."
    ),
]
Accumulate = Annotated[
    int, typer.Option(min=1, help="Average the gradients of so many batches for one step.")
]
Checkpointing = Annotated[
    bool,
    typer.Option(
        "--checkpointing",
        help="Compute layers twice instead of keeping them: less memory, more time.",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Of the Adam optimizer. By default 0.004 for unet, otherwise 0.001."),
]
Schedule = Annotated[
    Literal["constant", "cosine"] | None,
    typer.Option(
        help="How the learning rate goes over the epochs. By default cosine for unet, otherwise "
        "constant."
    ),
]
Loss = Annotated[
    Literal["bce", "cross-entropy", "balanced", "dice"] | None,
    typer.Option(
        help="Each material against the rest (bce), one among all, the same with more weight for "
        "rare materials, or overlaps. By default balanced for unet, otherwise bce."
    ),
]
Jitter = Annotated[
    float,
    typer.Option(help="Vary brightness and contrast by up to so many standard deviations, as 0.2."),
]
Patience = Annotated[
    int | None,
    typer.Option(min=1, help="Stop after so many epochs without a smaller validation loss."),
]
Validation = Annotated[
    float | None,
    typer.Option(
        help="Share of the slices, or scans, kept to choose the best epoch. By default 0.25 for "
        "unet, otherwise 0.5."
    ),
]
SplitBy = Annotated[
    Literal["slice", "scan", "leave-one-scan-out"],
    typer.Option(
        help="Keep single slices to choose the best epoch, or all slices of a scan, so that it is "
        "chosen by scans that were not learned from. A scan is a folder, or the slices whose names "
        "differ in the last number."
    ),
]
