"""The baseline as a part of the plan, for installations that have scikit-learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from xctvol.errors import InputError
from xctvol.grid import counted
from xctvol.journal import Journal, Recipe
from xctvol.pairs import Facts, Pairs
from xctvol.plan import Stage

if TYPE_CHECKING:
    from xctvol.stages.evaluate.forest import PixelForest

__all__ = ["Baseline", "plan_baseline"]


@dataclass(frozen=True)
class Baseline:
    """What a pixel forest adds to a plan; peak memory is without reading slices."""

    sampling: Stage
    forest: "PixelForest"
    facts: tuple[Facts, ...]
    peak_memory: int
    reads: int
    writes: int


def plan_baseline(
    annotated: Pairs, held_out: Pairs, facts: Sequence[Facts], work: Path, recipe: Recipe
) -> Baseline:
    """Plan to learn from `annotated` what labels `held_out`, whose facts are given.

    All annotated slices are read and checked. Raises InputError where both differ in materials or
    in the type of images, and where scikit-learn is not installed.
    """
    forest = _forest()
    learned = annotated.check()
    annotated.require_like(held_out)
    samples = work / "samples"
    count = len(held_out.materials)
    return Baseline(
        Stage(
            name="sample",
            task=forest.SamplePixels(annotated, samples),
            blocks=counted([1] * len(annotated)),
            journal=Journal(samples),
        ),
        forest.PixelForest(samples, len(annotated), recipe.digest),
        learned,
        max(forest.forest_bytes(count, fact.size) for fact in (*learned, *facts)),
        annotated.disk_bytes,
        forest.sample_bytes(count),
    )


def _forest() -> ModuleType:
    """Random forests, by a library that not every installation has."""
    try:
        from xctvol.stages.evaluate import forest
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise InputError(
            "the baseline is a random forest of scikit-learn, which is not installed: "
            "pip install 'xctvol[baseline]'"
        ) from None
    return forest
