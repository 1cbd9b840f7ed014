"""What a training run is asked for."""

from dataclasses import asdict, dataclass
from typing import Any

from xctvol.errors import UsageError

__all__ = ["Settings", "default_learning_rate"]


@dataclass(frozen=True)
class Settings:
    """Options of one training run.

    With `crop` pixels, a batch holds `batch` random crops and an epoch sees about the area of all
    training images; without, an epoch sees each image whole, one at a time. `validation` is the
    share of the pairs kept for choosing the best epoch.
    """

    architecture: str
    epochs: int
    replicates: int
    seed: int
    crop: int | None
    batch: int
    learning_rate: float
    validation: float
    device: str

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _require(self.replicates >= 1, "replicates", self.replicates, "at least 1")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.batch >= 1, "batch", self.batch, "at least 1")
        _require(self.crop is None or self.crop >= 8, "crop", self.crop, "at least 8 pixels")
        _require(self.learning_rate > 0, "learning rate", self.learning_rate, "above 0")
        _require(0 < self.validation < 1, "validation", self.validation, "between 0 and 1")
        if self.crop is None and self.batch > 1:
            raise UsageError(
                f"a batch of {self.batch} whole images is not possible, as images may differ in "
                "size; give crop (pixels) as well, or use batch 1"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def default_learning_rate(architecture: str) -> float:
    """That of the reference, and for our U-Net one with which it needs minutes, not an hour."""
    return 5e-3 if architecture == "unet" else 1e-3


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{name} {value} is not possible: it must be {wanted}")
