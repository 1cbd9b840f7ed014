"""The verb train: a plan whose blocks are replicates and whose product is their model files."""

import math
from collections.abc import Sequence
from pathlib import Path

from xctvol.errors import InputError
from xctvol.grid import Block, Box
from xctvol.journal import Journal, Recipe
from xctvol.model.devices import choose_device
from xctvol.model.file import Model
from xctvol.model.memory import training_bytes
from xctvol.model.networks import weight_bytes
from xctvol.pairs import Facts, Pairs
from xctvol.plan import Plan, Stage
from xctvol.stages.train.product import ModelFiles
from xctvol.stages.train.replicate import TrainReplicate, split
from xctvol.stages.train.settings import Settings, default_learning_rate

__all__ = ["train"]

_FILES = 7  # weights in a checkpoint (with best and Adam's), three candidates
_PIXEL_BYTES = 16  # of a pixel in memory: as stored, annotation, and as the network sees it


def train(  # noqa: PLR0913 - the options of the verb, all given by name
    pairs: Pairs,
    output: str | Path,
    *,
    architecture: str = "fcn_resnet101",
    epochs: int = 100,
    replicates: int = 1,
    seed: int = 0,
    crop: int | None = None,
    batch: int = 1,
    learning_rate: float | None = None,
    validation: float = 0.5,
    device: str = "auto",
) -> Plan[tuple[Model, ...]]:
    """Plan the training of `replicates` models that differ in seed and split of the pairs.

    One replicate is written to `output`, several to leaf-01.safetensors, leaf-02.safetensors and
    so on. All pairs are read and checked here. Raises InputError for pairs that cannot train, and
    UsageError for options that make no sense.
    """
    rate = default_learning_rate(architecture) if learning_rate is None else learning_rate
    settings = Settings(
        architecture, epochs, replicates, seed, crop, batch, rate, validation, device
    )
    if len(pairs) < 2:
        raise InputError(
            f"{pairs.folder} holds one pair; training needs at least two, one to learn from and "
            "one to choose the best epoch by"
        )
    facts = pairs.check()
    product = ModelFiles(Path(output), replicates)
    box = Box((0, 0, 0), (epochs, 1, 1))
    weights = weight_bytes(architecture, len(pairs.materials))
    recipe = Recipe(
        verb="train",
        inputs={"pairs": pairs.identity(), "materials": pairs.materials.to_json()},
        options=settings.to_json(),
    )
    return Plan(
        recipe=recipe,
        product=product,
        stages=(
            Stage(
                name="train",
                task=TrainReplicate(pairs, settings, product),
                blocks=tuple(Block(index, box, box) for index in range(replicates)),
                journal=Journal(product.work / "replicates"),
                unit="epochs",
            ),
        ),
        conclude=lambda: product.publish(recipe),
        peak_memory=_host_bytes(facts, settings, weights, len(pairs.materials)),
        reads=pairs.disk_bytes * replicates,
        writes=_FILES * weights * replicates,
        notes=tuple(_notes(pairs, facts, settings)),
    )


def _host_bytes(facts: Sequence[Facts], settings: Settings, weights: int, materials: int) -> int:
    pixels = _PIXEL_BYTES * sum(math.prod(fact.size) for fact in facts)
    if choose_device(settings.device).type == "cuda":
        return pixels + 4 * weights
    crop = settings.crop
    largest = max((fact.size for fact in facts), key=math.prod)
    shape = (settings.batch, *(largest if crop is None else (crop, crop)))
    return pixels + training_bytes(settings.architecture, materials, shape)


def _notes(pairs: Pairs, facts: Sequence[Facts], settings: Settings) -> list[str]:
    learning, choosing = split(pairs, settings, 0)
    notes = [
        f"{len(pairs)} pairs: {len(learning)} to learn from, {len(choosing)} to choose the best "
        "epoch by"
    ]
    for index, material in enumerate(pairs.materials):
        if not any(fact.pixels[index] for fact in facts):
            notes.append(f"no mask shows {material.name}: the model cannot learn it")
    return notes
