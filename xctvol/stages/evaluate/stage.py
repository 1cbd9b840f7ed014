"""The verb evaluate: a plan whose blocks are held-out images, model by model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xctvol.errors import InputError, UsageError
from xctvol.grid import Block, Box
from xctvol.journal import Journal, Recipe
from xctvol.model.devices import Precision
from xctvol.model.file import Model
from xctvol.model.memory import prediction_bytes
from xctvol.model.predict import predictor_for
from xctvol.model.scores import confusion
from xctvol.pairs import Facts, Pairs
from xctvol.plan import Plan, Stage
from xctvol.stages.evaluate.product import Counts, Scores, ScoresProduct, write_scores

__all__ = ["EvaluateImage", "evaluate"]

_PIXEL_BYTES = 16  # of a pixel in memory: image, mask, its codes, labels, counting
_IMAGE_TEXT_BYTES = 4096  # of an image and model in the tables


@dataclass(frozen=True)
class EvaluateImage:
    """Counts the pixels of one image by one model; blocks go through all images, then models.

    Models travel as path and digest, and each process loads each of them once.
    """

    pairs: Pairs
    models: tuple[tuple[Path, str], ...]
    device: str
    precision: Precision

    def __call__(self, block: Block) -> list[list[int]]:
        model, image = divmod(block.index, len(self.pairs))
        materials = self.pairs.materials
        annotated = self.pairs[image].read(materials)
        predictor = predictor_for(*self.models[model], self.device, self.precision)
        predicted = predictor.indices(annotated.image[None])[0]
        counts: list[list[int]] = confusion(annotated.indices, predicted, len(materials)).tolist()
        return counts


def evaluate(
    models: Sequence[Model],
    pairs: Pairs,
    output: str | Path,
    *,
    device: str = "auto",
    precision: Precision = "auto",
) -> Plan[Scores]:
    """Plan to score `models` on `pairs`, which no model should have been trained on.

    All pairs are read and checked here. Raises InputError for a model of other materials or
    trained on another type of images.
    """
    if not models:
        raise UsageError("no model to evaluate; give at least one model file")
    facts = pairs.check()
    for model in models:
        _require_fit(model, pairs, facts[0])
    files = tuple((model.path.absolute(), model.digest) for model in models)
    product = ScoresProduct(Path(output))
    recipe = Recipe(
        verb="evaluate",
        inputs={
            "models": [model.digest for model in models],
            "pairs": pairs.identity(),
            "materials": pairs.materials.to_json(),
        },
        options={"device": device, "precision": precision},
    )
    boxes = [Box((i, 0, 0), (i + 1, 1, 1)) for i in range(len(models) * len(pairs))]
    journal = Journal(product.work / "images")

    def conclude() -> None:
        matrices = np.array(list(journal.results().values()), np.int64)
        k = len(pairs.materials)
        counts = Counts(
            models=tuple(path for path, _ in files),
            images=tuple(pair.name for pair in pairs),
            materials=pairs.materials.names,
            pixels=matrices.reshape(len(models), len(pairs), k, k),
        )
        write_scores(product.path, counts, recipe)

    return Plan(
        recipe=recipe,
        product=product,
        stages=(
            Stage(
                name="evaluate",
                task=EvaluateImage(pairs, files, device, precision),
                blocks=tuple(Block(i, box, box) for i, box in enumerate(boxes)),
                journal=journal,
            ),
        ),
        conclude=conclude,
        peak_memory=max(_memory(model, fact) for model in models for fact in facts),
        reads=len(models) * pairs.disk_bytes + sum(model.path.stat().st_size for model in models),
        writes=_IMAGE_TEXT_BYTES * len(pairs) * len(models),
        notes=tuple(_notes(models, pairs)),
    )


def _require_fit(model: Model, pairs: Pairs, facts: Facts) -> None:
    known, wanted = model.card.materials.names, pairs.materials.names
    if known != wanted:
        raise InputError(
            f"the model {model.path} knows {', '.join(known)} but the pairs in {pairs.folder} "
            f"show {', '.join(wanted)}; both need the same materials in the same order"
        )
    if model.card.grey.dtype != facts.dtype:
        raise InputError(
            f"the model {model.path} learned from {model.card.grey.dtype} images but those in "
            f"{pairs.folder} are {facts.dtype}: grey values would mean something else"
        )


def _memory(model: Model, facts: Facts) -> int:
    card = model.card
    network = prediction_bytes(card.architecture, len(card.materials), facts.size)
    return network + _PIXEL_BYTES * facts.size[0] * facts.size[1]


def _notes(models: Sequence[Model], pairs: Pairs) -> list[str]:
    notes = []
    for model in models:
        training = model.card.training
        seen = {*training.trained_on, *training.validated_on} if training else set()
        again = sorted(seen.intersection(pair.name for pair in pairs))
        if again:
            notes.append(
                f"{model.path.name} was trained or chosen on {len(again)} images of these names "
                f"({again[0]}): on images it has seen, scores are too good"
            )
    return notes
