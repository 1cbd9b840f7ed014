"""The card of a model: everything but the weights that decides what it predicts."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from xctvol.errors import InputError
from xctvol.formats import refuse_newer, stamp
from xctvol.materials import Materials
from xctvol.volume.window import Window

__all__ = [
    "IDENTITY",
    "Affine",
    "Card",
    "Decode",
    "GreyScale",
    "Losses",
    "Norm",
    "Probability",
    "Recalibration",
    "Training",
]

Norm = Literal["running", "batch"]
"""Batch normalization with the stored statistics, or with those of each slice by itself."""

Probability = Literal["sigmoid", "softmax"]
"""What the logits of a network were trained to mean.

`sigmoid`: a probability for each material by itself, whatever the others have. `softmax`: those of
the materials add up to 1.
"""

Decode = Literal["argmax", "threshold", "threshold_sum"]
"""How logits become labels.

`argmax`: the material with the largest logit; of equal ones the first. `threshold`: of the
materials whose probability reaches their threshold the one that exceeds it most, by log odds;
where there is none the pixel stays unlabelled. `threshold_sum`: the labels of all materials that
reach their thresholds added up, modulo 256, as XCT_FCN did.
"""

_LARGEST_SCALE = 8.0


@dataclass(frozen=True)
class Affine:
    """Original grey value = stored value * scale + offset."""

    scale: float = 1.0
    offset: float = 0.0


IDENTITY = Affine()
"""For slices stored with their original grey values."""


@dataclass(frozen=True)
class GreyScale:
    """How grey values reach the network: (clip((grey - low) / (high - low), 0, 1) - mean) / std.

    `dtype` is that of the training images, `window` is in their grey values, `mean` and `std`
    are taken after windowing.
    """

    dtype: str
    window: Window
    mean: float
    std: float

    def stored(self, grey: Affine) -> tuple[float, float]:
        """Factor and summand that take stored values of a volume to 0..1 of the window."""
        width = self.window.high - self.window.low
        return grey.scale / width, (grey.offset - self.window.low) / width


@dataclass(frozen=True)
class Losses:
    """Mean loss of one epoch, over the training and over the validation images."""

    training: float
    validation: float


@dataclass(frozen=True)
class Training:
    """How a model came to be; nothing here changes what it predicts.

    `scores` holds the macro-F1 on the validation images with the batch statistics as training
    left them (`running`), recomputed afterwards (`recalibrated`) and of each slice (`batch`), in
    the epoch with the smallest validation loss, and again in the last one; `kept` names what the
    card uses, and `best_epoch` is its epoch. Epochs count from 1, replicates from 0. `precision`
    is the arithmetic of the steps.
    """

    options: Mapping[str, Any]
    replicate: int
    trained_on: tuple[str, ...]
    validated_on: tuple[str, ...]
    losses: tuple[Losses, ...]
    best_epoch: int
    scores: Mapping[str, float]
    kept: str
    versions: Mapping[str, str]
    precision: str = "fp32"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **value,
                "trained_on": tuple(value["trained_on"]),
                "validated_on": tuple(value["validated_on"]),
                "losses": tuple(Losses(**epoch) for epoch in value["losses"]),
            }
        )


@dataclass(frozen=True)
class Recalibration:
    """That the running statistics were collected anew, over how many slices of which scan.

    `agreement` is the share of pixels that got the same label before and after, over slices that
    the statistics were not collected from.
    """

    scan: str
    slices: int
    agreement: float


@dataclass(frozen=True)
class Card:
    """What a model is: `architecture` names the network, see `xctvol.model.networks.build`.

    `spacing_um` is that of the training scans, (z, y, x), where it is known; `scale` is the size
    of slices as the network sees them, relative to the scan: they are resized, and the logits
    enlarged to the size of the scan.
    """

    architecture: str
    materials: Materials
    grey: GreyScale
    norm: Norm = "running"
    probability: Probability = "sigmoid"
    decode: Decode = "argmax"
    spacing_um: tuple[float, float, float] | None = None
    scale: float = 1.0
    training: Training | None = None
    recalibration: Recalibration | None = None

    def with_norm(self, norm: Norm) -> "Card":
        return replace(self, norm=norm)

    def to_json(self) -> dict[str, Any]:
        return {
            **stamp("model"),
            "architecture": self.architecture,
            "materials": self.materials.to_json(),
            "ignore": [list(value) for value in self.materials.ignore],
            "grey": {**asdict(self.grey), "window": self.grey.window.to_json()},
            "norm": self.norm,
            "probability": self.probability,
            "decode": self.decode,
            "spacing_um": None if self.spacing_um is None else list(self.spacing_um),
            "scale": self.scale,
            "training": None if self.training is None else asdict(self.training),
            "recalibration": self.recalibration and asdict(self.recalibration),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The card in a model file; raises InputError where it is newer or damaged."""
        if value is None:
            raise InputError("it holds weights but no card, so it is not a model of xctvol")
        refuse_newer("model", "its card", value)
        try:
            card = cls(
                architecture=str(value["architecture"]),
                materials=Materials.from_json(value["materials"], value.get("ignore") or None),
                grey=_grey(value["grey"]),
                norm=_one_of(Norm, value["norm"]),
                probability=_one_of(Probability, value.get("probability", "sigmoid")),
                decode=_one_of(Decode, value["decode"]),
                spacing_um=_spacing(value["spacing_um"]),
                scale=_scale(value["scale"]),
                training=value["training"] and Training.from_json(value["training"]),
                recalibration=_recalibration(value.get("recalibration")),
            )
            json.dumps(card.to_json(), allow_nan=False)  # numbers that are none would show later
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"its card is damaged: {error!r}") from error
        return card


def _grey(value: Any) -> GreyScale:
    if not float(value["std"]) > 0:
        raise ValueError(f"a standard deviation of {value['std']} is not above 0")
    return GreyScale(
        dtype=str(value["dtype"]),
        window=Window.from_json(value["window"]),
        mean=float(value["mean"]),
        std=float(value["std"]),
    )


def _spacing(value: Any) -> tuple[float, float, float] | None:
    if value is None:
        return None
    z, y, x = map(float, value)
    return (z, y, x)


def _scale(value: Any) -> float:
    if not 0 < float(value) <= _LARGEST_SCALE:
        raise ValueError(f"a scale of {value} is not above 0 and at most {_LARGEST_SCALE}")
    return float(value)


def _recalibration(value: Any) -> Recalibration | None:
    return value and Recalibration(
        str(value["scan"]), int(value["slices"]), float(value["agreement"])
    )


def _one_of(kind: Any, value: Any) -> Any:
    if value not in get_args(kind):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(kind))}")
    return value
