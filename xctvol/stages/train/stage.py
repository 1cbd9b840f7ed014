"""The verb train: a plan whose blocks are replicates and whose product is their model files."""

from pathlib import Path
from typing import Unpack

from xctvol.files import sha256
from xctvol.grid import counted
from xctvol.journal import Journal, Recipe
from xctvol.locations import local
from xctvol.model.file import Model
from xctvol.model.networks import weight_bytes
from xctvol.pairs import Pairs
from xctvol.plan import Plan, Stage, refuse_own_input
from xctvol.stages.train.foresight import host_bytes, notes_on
from xctvol.stages.train.product import ModelFiles
from xctvol.stages.train.replicate import TrainReplicate
from xctvol.stages.train.settings import TrainOptions, settings_for
from xctvol.stages.train.splits import require_two

__all__ = ["train"]

_FILES = 7  # weights in a checkpoint (with best and Adam's), three candidates


def train(
    pairs: Pairs,
    output: str | Path,
    *,
    replicates: int | None = None,
    **options: Unpack[TrainOptions],
) -> Plan[tuple[Model, ...]]:
    """Plan the training of `replicates` models that differ in seed and split of the pairs.

    `options` are described in `xctvol.stages.train.settings`. By default one model is trained, and
    with `split` "leave-one-scan-out" one for each scan. One replicate is written to `output`,
    several to leaf-01.safetensors, leaf-02.safetensors and so on, each with a log of its epochs.
    All pairs are read and checked here. Raises InputError for pairs that cannot train, and
    UsageError for options that make no sense.
    """
    if replicates is None:
        left_out = options.get("split") == "leave-one-scan-out"
        replicates = len(pairs.scans) if left_out else 1
    facts = pairs.check()
    settings = settings_for([fact.size for fact in facts], replicates=replicates, **options)
    require_two(pairs, settings)
    notes = tuple(notes_on(pairs, facts, settings))
    product = ModelFiles(local(output, "a model"), replicates)
    refuse_own_input([settings.weights], *product.files)
    weights = weight_bytes(settings.architecture, len(pairs.materials))
    recipe = Recipe(
        verb="train",
        inputs={
            **pairs.recipe_inputs(),
            "weights": None if settings.weights is None else sha256(settings.weights),
        },
        options=settings.to_json(),
    )
    return Plan(
        recipe=recipe,
        product=product,
        stages=(
            Stage(
                name="train",
                task=TrainReplicate(pairs, settings, product),
                blocks=counted([settings.epochs] * replicates),
                journal=Journal(product.work / "replicates"),
                unit="epochs",
            ),
        ),
        conclude=lambda: product.publish(recipe),
        peak_memory=host_bytes(facts, settings, len(pairs.materials)),
        reads=pairs.disk_bytes * replicates,
        writes=_FILES * weights * replicates,
        notes=notes,
    )
