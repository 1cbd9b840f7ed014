"""What a training run is asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from xctvol.errors import UsageError
from xctvol.model.networks import scaled_size
from xctvol.units import Spacing

__all__ = [
    "MOST_REPLICATES",
    "LearningOptions",
    "Loss",
    "Schedule",
    "Settings",
    "SplitBy",
    "TrainOptions",
    "settings_for",
]

Loss = Literal["bce", "cross-entropy", "balanced", "dice"]
"""What is made small; see `xctvol.stages.train.losses`."""

Schedule = Literal["constant", "cosine"]
"""The learning rate over the epochs: as it is, or half a cosine from there down to almost 0."""

SplitBy = Literal["slice", "scan", "leave-one-scan-out"]
"""What stays together when pairs are split: each slice by itself, or all slices of a scan."""

MOST_REPLICATES = 1000
"""Of a training or a study: files have numbers, and nobody has time for more."""

_MOST_EVER = 1_000_000  # epochs
_FEWEST_PIXELS = 8  # along a slice that a network sees: nothing can be told apart in fewer
_LONGEST_EPOCH = 250  # batches of crops; more between two validations would make people wait


@dataclass(frozen=True)
class Settings:
    """Options of one training run, by default those of the paper.

    With `crop` pixels, a batch holds `batch` random crops and an epoch sees about the area of all
    training images, or less where that is very much; without, an epoch sees each image whole, one
    at a time. `validation` is the share of the slices, or scans, kept for choosing the best epoch;
    `leave-one-scan-out` keeps one scan instead, another one in each replicate.

    The network sees slices at `scale` times their size, so less detail and more of what surrounds
    it; labels come back at full size. `weights` is a file to start from. `jitter` varies
    brightness and contrast of the normalized grey values by up to so much, in standard deviations.
    Training ends early after `patience` epochs without a smaller validation loss. The optimizer
    makes a step every `accumulate` batches. `checkpointing` computes the network's layers twice
    instead of keeping what they give. `spacing` is that of the scans the images come from, where it
    is known.
    """

    architecture: str = "fcn_resnet101"
    epochs: int = 100
    replicates: int = 1
    seed: int = 0
    crop: int | None = None
    batch: int = 1
    learning_rate: float = 1e-3
    validation: float = 0.5
    device: str = "auto"
    split: SplitBy = "slice"
    loss: Loss = "bce"
    weights: Path | None = None
    scale: float = 1.0
    jitter: float = 0.0
    schedule: Schedule = "constant"
    patience: int | None = None
    accumulate: int = 1
    checkpointing: bool = False
    spacing: Spacing | None = None

    def __post_init__(self) -> None:
        for name, count, most in (
            ("epochs", self.epochs, _MOST_EVER),
            ("replicates", self.replicates, MOST_REPLICATES),
        ):
            _require(1 <= count <= most, name, count, f"at least 1, and at most {most}")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.batch >= 1, "batch", self.batch, "at least 1")
        _require(self.crop is None or self.crop >= 8, "crop", self.crop, "at least 8 pixels")
        _require(0 < self.scale <= 1, "scale", self.scale, "above 0 and at most 1")
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning rate", rate, "above 0, and finite")
        _require(0 < self.validation < 1, "validation", self.validation, "between 0 and 1")
        _require(0 <= self.jitter < 1, "jitter", self.jitter, "from 0 to below 1")
        _require(self.accumulate >= 1, "accumulate", self.accumulate, "at least 1")
        _require(
            self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more"
        )
        for name, kind in (("split", SplitBy), ("loss", Loss), ("schedule", Schedule)):
            value = getattr(self, name)
            _require(value in get_args(kind), name, value, f"one of {', '.join(get_args(kind))}")
        if self.crop is None and self.batch > 1:
            raise UsageError(
                f"a batch of {self.batch} whole images is not possible, as images may differ in "
                "size; give crop (pixels) as well, or use batch 1"
            )

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2

    def seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (y, x) at which the network sees a slice of `size`."""
        return scaled_size(size, self.scale)

    def batches(self, sizes: Sequence[tuple[int, int]]) -> int:
        """Batches of an epoch on slices that are seen at these sizes (y, x)."""
        if self.crop is None:
            return len(sizes)
        area = sum(math.prod(size) for size in sizes)
        return min(max(1, round(area / (self.batch * self.crop**2))), _LONGEST_EPOCH)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "weights": None if self.weights is None else self.weights.name}


class LearningOptions(TypedDict, total=False):
    """Fields of `Settings` as options; those left out, or None, become what suits the network.

    A `crop` of 0 asks for whole slices.
    """

    architecture: str
    seed: int
    crop: int | None
    batch: int | None
    learning_rate: float | None
    validation: float | None
    device: str
    split: SplitBy
    loss: Loss | None
    weights: Path | None
    scale: float
    jitter: float
    schedule: Schedule | None
    patience: int | None
    accumulate: int
    checkpointing: bool
    spacing: Spacing | None


class TrainOptions(LearningOptions, total=False):
    """Those, and the number of epochs."""

    epochs: int | None


_SUITED: Mapping[str, Mapping[str, Any]] = {
    "unet": {
        "crop": 64, "batch": 8, "learning_rate": 4e-3, "schedule": "cosine", "validation": 0.25,
        "loss": "balanced",
    },
}  # fmt: skip  # the options of a training, side by side
"""What suits a network better than the settings of the paper, which were made for a ResNet on GPUs.

A small network learns by the number of its steps rather than by the pixels that each of them sees,
and most from crops of many places. Falling rates let it settle, so that few slices need to be kept
from it to choose the epoch by.
"""

_STEPS, _MOST_EPOCHS = 4000, 1000
"""Of a network with settings of its own, if as many slices learn as there are: minutes on a CPU."""


def settings_for(
    sizes: Sequence[tuple[int, int]], *, architecture: str = "fcn_resnet101", **options: Any
) -> Settings:
    """Settings that suit the network where `options` leave them out, or None.

    `sizes` (y, x) are those of all slices. A crop of 0 asks for whole ones.
    """
    given = {name: value for name, value in options.items() if value is not None}
    suited = dict(_SUITED.get(architecture, {}))
    if given.get("crop") == 0:
        given["crop"], suited["batch"] = None, 1
    settings = Settings(architecture, **{**suited, **given})
    _refuse_tiny(settings, sizes)
    if architecture not in _SUITED or settings.crop is None or "epochs" in given:
        return settings
    batches = settings.batches([settings.seen(size) for size in sizes])
    return replace(settings, epochs=min(round(_STEPS / batches), _MOST_EPOCHS))


def _refuse_tiny(settings: Settings, sizes: Sequence[tuple[int, int]]) -> None:
    """Raise UsageError for a scale that leaves next to nothing of the smallest slice."""
    smallest = min(sizes, key=min, default=None)
    if smallest is None or settings.scale == 1:
        return
    seen = settings.seen(smallest)
    if min(seen) < _FEWEST_PIXELS:
        raise UsageError(
            f"scale {settings.scale} leaves {seen[0]} x {seen[1]} pixels of a slice of "
            f"{smallest[0]} x {smallest[1]}, in which nothing can be told apart; give a larger "
            f"one, so that at least {_FEWEST_PIXELS} are left along each side"
        )


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{name} {value} is not possible: it must be {wanted}")
