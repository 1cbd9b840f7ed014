"""The choice between the models that a training may end with, by validation score."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xctvol.model.card import Card
from xctvol.model.devices import choose_device
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.model.norms import has_batch_norm, recalibrate
from xctvol.model.predict import Predictor
from xctvol.model.scores import MaterialScores, confusion
from xctvol.pairs import Annotated

__all__ = ["Candidate", "candidates", "choose"]


@dataclass(frozen=True)
class Candidate:
    """One of the models that a training can end with."""

    name: str
    epoch: int
    card: Card
    weights: Mapping[str, Tensor]


def candidates(
    card: Card,
    epochs: Mapping[int, Mapping[str, Tensor]],
    batches: Sequence[Tensor],
    device: torch.device,
) -> Iterator[Candidate]:
    """The models that weights allow, in order of preference among equals.

    `epochs` has the weights of the best epoch by validation loss and, after it, of the last one:
    the loss may rise while labels get better. Each may go with several statistics. `running`: as
    training left them; `recalibrated`: collected again over `batches` (n, 1, y, x), which must be
    shaped like those of the training; `batch`: those of each slice by itself, which rules out
    tiles and batches of slices later, so it comes last.
    """
    for (epoch, weights), suffix in zip(epochs.items(), ("", ", last epoch"), strict=False):
        yield Candidate(f"running{suffix}", epoch, card, weights)
        network = build(card.architecture, len(card.materials))
        if has_batch_norm(network.body):
            network.body.load_state_dict(weights)
            network.body.to(device)
            recalibrate(network, (batch.to(device) for batch in batches))
            state = network.body.state_dict()
            yield Candidate(f"recalibrated{suffix}", epoch, card, state)
            yield Candidate(f"batch{suffix}", epoch, card.with_norm("batch"), weights)


def choose(
    card: Card,
    epochs: Mapping[int, Mapping[str, Tensor]],
    batches: Sequence[Tensor],
    validation: Sequence[Annotated],
    device: str,
    folder: Path,
) -> tuple[Candidate, dict[str, float]]:
    """The candidate that scores best on `validation`, and the macro-F1 of each by name.

    Each is scored by the very file that users would get, which is written into `folder`, apart
    from those of another run of the same training.
    """
    found = list(candidates(card, epochs, batches, choose_device(device)))
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=folder) as apart:
        path = Path(apart) / "candidate.safetensors"
        for candidate in found:
            save_model(path, candidate.card, candidate.weights)
            scores[candidate.name] = _macro_f1(Predictor(open_model(path), device), validation)
    return max(found, key=lambda candidate: scores[candidate.name]), scores


def _macro_f1(predictor: Predictor, validation: Sequence[Annotated]) -> float:
    """Over all pixels; 0 for a network that cannot use the statistics of a single slice.

    DeepLab is one: it pools to one value a channel, which has no variance.
    """
    count = len(predictor.card.materials)
    counts = np.zeros((count, count + 1), np.int64)
    try:
        for annotated in validation:
            predicted = predictor.indices(annotated.image[None])[0]
            counts += confusion(annotated.indices, predicted, count)
    except ValueError:  # what torch raises then
        return 0.0
    return float(np.nan_to_num(MaterialScores.of(counts).macro_f1))
