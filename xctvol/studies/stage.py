"""The verb study: a plan whose blocks are trials, each a training with its evaluation.

The protocol is the paper's (Figures 2 and 4): a training of its own for every number of scans,
number of epochs and replicate, each with its own scans, split and weights, and with its best epoch
chosen by validation loss. Scores of one long training at several epochs would cost half as much
at most, but the points of a curve would then depend on each other, the intervals would say nothing
of their differences, and with a cosine schedule they would be of trainings that nobody would run.
"""

from collections.abc import Sequence
from itertools import product as combinations
from pathlib import Path
from typing import Unpack

from xctvol.errors import InputError, UsageError
from xctvol.grid import counted
from xctvol.journal import Journal, Recipe
from xctvol.locations import local
from xctvol.model.memory import prediction_bytes
from xctvol.pairs import Facts, Pairs
from xctvol.plan import Plan, Stage, refuse_own_input
from xctvol.stages.train import MOST_REPLICATES, LearningOptions, train
from xctvol.studies.figures import draw_curves
from xctvol.studies.product import Study, StudyProduct, Trial, Unit, Value, write_study
from xctvol.studies.trial import RunTrial, best_trial

__all__ = ["study"]


def study(
    pairs: Pairs,
    held_out: Pairs,
    output: str | Path,
    *,
    scans: Sequence[int],
    epochs: Sequence[int],
    replicates: int = 10,
    **options: Unpack[LearningOptions],
) -> Plan[Study]:
    """Plan to train on so many scans for so many epochs, `replicates` times, and to score each.

    `scans` counts scans, or slices where all pairs are of one scan. `options` are those of
    `train` but for the epochs. All pairs are read and checked here. Raises InputError where there
    are not enough pairs or held-out ones do not fit, and UsageError for options that make no sense.
    """
    unit: Unit = "scans" if len(pairs.scans) > 1 else "slices"
    numbers = tuple(sorted({*scans})), tuple(sorted({*epochs}))
    _require_counts(numbers, replicates, pairs, unit)
    if options.get("split", "slice") != "slice" and numbers[0][0] < 2:
        raise UsageError("one scan cannot be split by scan: begin with 2, or split by slice")
    product = StudyProduct(local(output, "a study"))
    refuse_own_input([options.get("weights")], product.path)
    options = LearningOptions(seed=0, device="auto") | options
    largest = train(
        pairs, product.work / "x.safetensors", epochs=numbers[1][-1], replicates=1, **options
    )
    facts = _require_fit(pairs, held_out)
    trials = tuple(Trial(*each) for each in combinations(*numbers, range(1, replicates + 1)))
    journal = Journal(product.work / "trials")
    task = RunTrial(trials, pairs, held_out, unit, options, product.work / "models", journal)
    counts = {unit: list(numbers[0]), "epochs": list(numbers[1]), "replicates": replicates}
    recipe = Recipe(
        verb="study",
        inputs={**largest.recipe.inputs, "held out": held_out.identity()},
        options={**largest.recipe.options, **counts},
    )
    blocks = counted(trial.epochs for trial in trials)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("study", task, blocks, journal, unit="epochs"),),
        conclude=lambda: _conclude(task, product, recipe),
        peak_memory=max(largest.peak_memory, _scoring_bytes(largest.recipe, facts, held_out)),
        reads=len(trials) * (largest.reads + held_out.disk_bytes),
        writes=2 * largest.writes,  # the training at hand and the best models; others are deleted
        notes=(
            f"{len(trials)} trainings: {', '.join(map(str, numbers[0]))} {unit}, "
            f"{', '.join(map(str, numbers[1]))} epochs, {replicates} replicates each; "
            f"scored on {len(held_out)} held-out slices",
            *(note for note in largest.notes if note.startswith("WARNING: no mask")),
        ),
    )


def _conclude(task: RunTrial, product: StudyProduct, recipe: Recipe) -> None:
    results = dict(enumerate(task.journal.all_results(len(task.trials))))
    values = tuple(
        Value(task.trials[index], material, metric, float("nan") if value is None else value)
        for index, rows in results.items()
        for material, metric, value in rows
    )
    draw_curves(product, task.unit, values, task.pairs.materials)
    best = best_trial(results)
    write_study(product, task.unit, values, (task.trials[best], task.model(best)), recipe)


def _require_counts(
    numbers: tuple[tuple[int, ...], tuple[int, ...]], replicates: int, pairs: Pairs, unit: Unit
) -> None:
    for name, given in ((unit, numbers[0]), ("epochs", numbers[1]), ("replicates", (replicates,))):
        if not given or given[0] < 1:
            raise UsageError(f"a study needs numbers of {name} from 1 on, as in 1,2,3")
    if replicates > MOST_REPLICATES:
        raise UsageError(f"a study can have at most {MOST_REPLICATES} replicates, not {replicates}")
    there = len(pairs.scans) if unit == "scans" else len(pairs)
    if numbers[0][-1] > there:
        raise InputError(
            f"{pairs.folder} holds {there} annotated {unit}, so {numbers[0][-1]} cannot be studied"
        )
    fewest = min(_slices_in(pairs, unit))
    if numbers[0][0] * fewest < 2:
        raise InputError(
            f"one slice cannot train a model, as another one has to choose the best epoch: begin "
            f"with 2 {unit}, or annotate more slices of each scan in {pairs.folder}"
        )


def _slices_in(pairs: Pairs, unit: Unit) -> list[int]:
    """How many slices each scan has; a slice has one."""
    if unit == "slices":
        return [1]
    return [sum(pair.scan == scan for pair in pairs) for scan in pairs.scans]


def _require_fit(pairs: Pairs, held_out: Pairs) -> tuple[Facts, ...]:
    facts = held_out.check()
    pairs.require_like(held_out)
    seen = {pair.identity()[2]: pair for pair in pairs}
    for pair in held_out:
        twin = seen.get(pair.identity()[2])
        if twin is not None:
            raise InputError(
                f"{pair.image} is the same image as {twin.image}: scores on slices that models "
                "have learned from mean nothing; take it out of one of the folders"
            )
    return facts


def _scoring_bytes(training: Recipe, facts: Sequence[Facts], held_out: Pairs) -> int:
    architecture, count = training.options["architecture"], len(held_out.materials)
    return max(prediction_bytes(architecture, count, fact.size) for fact in facts)
