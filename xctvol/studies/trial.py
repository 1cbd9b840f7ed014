"""The task of a study: one trial, trained and scored as a user would do it."""

from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.files import remove_tree
from xctvol.grid import Block
from xctvol.journal import Journal
from xctvol.pairs import Pairs
from xctvol.plan import report
from xctvol.stages.evaluate import ScoreRow, evaluate
from xctvol.stages.train import LearningOptions, train
from xctvol.studies.product import ALL, MACRO_F1, Trial, Unit

__all__ = ["RunTrial", "annotated_by", "best_trial"]

_LEAVE_OUT = "leave-one-scan-out"
_SCORES = tuple(field.name for field in fields(ScoreRow) if field.type is float)


@dataclass(frozen=True)
class RunTrial:
    """Trains and scores trial number `block.index`; the result is its table of scores.

    A training that was stopped continues from its last epoch. Models that can no longer be the
    best are deleted as the study goes, so that it needs room for a few of them only.
    """

    trials: tuple[Trial, ...]
    pairs: Pairs
    held_out: Pairs
    unit: Unit
    options: LearningOptions
    folder: Path
    journal: Journal

    def __call__(self, block: Block) -> list[list[Any]]:
        trial = self.trials[block.index]
        self._delete_losers()
        seed = self.options["seed"]
        options: LearningOptions = {**self.options, "seed": _seed(trial, seed)}
        pairs = annotated_by(trial, self.pairs, self.unit, seed)
        plan = train(
            _leaving_out(trial, pairs) if options.get("split") == _LEAVE_OUT else pairs,
            self.model(block.index),
            epochs=trial.epochs,
            replicates=1,
            **options,
        )
        context = copy_context()  # in which `report` speaks of the trial, not of its training
        (model,) = plan.run(listen=lambda p: context.run(report, p.done, p.note))
        report(trial.epochs, "scoring")
        output = self.model(block.index).with_name("scores")
        scores = evaluate(model, self.held_out, output, device=self.options["device"]).run()
        rows: list[list[Any]] = [
            [row.material, name, _json(getattr(row, name))]
            for row in scores.table
            for name in _SCORES
        ]
        (macro,) = scores.macro_f1.values()
        return [*rows, [ALL, MACRO_F1, macro]]

    def model(self, index: int) -> Path:
        return self.folder / f"trial-{index:06d}" / "model.safetensors"

    def _delete_losers(self) -> None:
        results = self.journal.results()
        if results:
            best = best_trial(results)
            for index in results:
                if index != best:
                    remove_tree(self.model(index).parent)


def annotated_by(trial: Trial, pairs: Pairs, unit: Unit, seed: int) -> Pairs:
    """The pairs a trial may use: each replicate annotates scans in a random order of its own.

    A trial with more scans has those of the trials with fewer, as when a user goes on annotating.
    """
    names = pairs.scans if unit == "scans" else tuple(pair.name for pair in pairs)
    order = np.random.default_rng([seed, trial.replicate]).permutation(len(names))
    chosen = {names[i] for i in order[: trial.annotated]}
    table = tuple(p for p in pairs if (p.scan if unit == "scans" else p.name) in chosen)
    return replace(pairs, table=table)


def _leaving_out(trial: Trial, pairs: Pairs) -> Pairs:
    """The pairs with another scan first in each replicate: the first is the one left out."""
    left = pairs.scans[(trial.replicate - 1) % len(pairs.scans)]
    return replace(pairs, table=tuple(sorted(pairs, key=lambda pair: pair.scan != left)))


def best_trial(results: Mapping[int, list[list[Any]]]) -> int:
    """The trial with the largest macro-F1; of equal ones the first."""
    return max(sorted(results), key=lambda index: float(results[index][-1][-1]))


def _seed(trial: Trial, seed: int) -> int:
    """Trials share nothing by chance: another seed for each."""
    parts = [seed, trial.annotated, trial.epochs, trial.replicate]
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _json(value: float) -> float | None:
    return None if np.isnan(value) else value
