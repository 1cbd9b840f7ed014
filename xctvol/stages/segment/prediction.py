"""How slices are predicted: descriptions that travel, opened in the process that predicts."""

from dataclasses import dataclass
from typing import Protocol

from xctvol.model.card import Decode
from xctvol.model.devices import Precision
from xctvol.model.predict import ModelFile, Predictor, ensemble_for
from xctvol.resources import thread_budget
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
    """Models as paths and digests; each is loaded once a process, by the first block.

    On a CPU a process predicts up to `threads` slices side by side, as far as it may use so many.
    """

    models: tuple[ModelFile, ...]
    device: str
    precision: Precision
    decode: Decode
    needed_bytes: int
    threads: int = 1

    def open(self) -> Predictor:
        threads = min(self.threads, thread_budget())
        return ensemble_for(self.models, self.device, self.precision, self.decode, threads)
