"""How slices are predicted: descriptions that travel, opened in the process that predicts."""

from dataclasses import dataclass
from typing import Protocol

from xctvol.model.card import Decode
from xctvol.model.devices import Precision
from xctvol.model.predict import ModelFile, Predictor, ensemble_for
from xctvol.stages.segment.device import Labeler

__all__ = ["Predicting", "Prediction"]


class Predicting(Protocol):
    """How slices are predicted: small enough to travel, opened in the process that does it."""

    @property
    def device(self) -> str: ...

    @property
    def needed_bytes(self) -> int:
        """What predicting one slice takes on the device."""
        ...

    def open(self) -> Labeler: ...


@dataclass(frozen=True)
class Prediction:
    """Models as paths and digests; each is loaded once a process, by the first block."""

    models: tuple[ModelFile, ...]
    device: str
    precision: Precision
    decode: Decode
    needed_bytes: int

    def open(self) -> Predictor:
        return ensemble_for(self.models, self.device, self.precision, self.decode)
