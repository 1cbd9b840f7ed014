"""The verb evaluate: a plan whose blocks are held-out images, model by model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.grid import Block, counted
from xctvol.journal import Journal, Recipe
from xctvol.model.card import Decode
from xctvol.model.devices import Precision, choose_precision, device_called
from xctvol.model.ensemble import require_alike
from xctvol.model.file import Model
from xctvol.model.memory import ensemble_bytes
from xctvol.model.predict import ModelFile, ensemble_for
from xctvol.model.scores import confusion
from xctvol.pairs import Facts, Pairs
from xctvol.plan import Plan, Stage
from xctvol.stages.evaluate.baseline import Baseline, plan_baseline
from xctvol.stages.evaluate.boundaries import boundary_counts
from xctvol.stages.evaluate.product import Counts, Scores, ScoresProduct, write_scores

__all__ = ["Candidate", "EvaluateImage", "Network", "evaluate"]

_FORMAT = 5  # of the tables; raise it when the same models and pairs come to give others
_ENSEMBLE, _BASELINE = "together", "pixel forest"
_PIXEL_BYTES = 20  # of a pixel in memory: image, mask, its codes, labels, counting, boundaries
_IMAGE_TEXT_BYTES = 4096  # of an image and model in the tables


class Candidate(Protocol):
    """What labels slices and is scored. A frozen, picklable value, light until it labels."""

    def indices(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Index of each pixel's material, (y, x); the number of materials where it has none."""
        ...


@dataclass(frozen=True)
class Network:
    """A model file, or several that decide together; each process loads them once."""

    models: tuple[ModelFile, ...]
    device: str
    precision: Precision
    decode: Decode

    def indices(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        predictor = ensemble_for(self.models, self.device, self.precision, self.decode)
        return predictor.indices(image[None])[0]


@dataclass(frozen=True)
class EvaluateImage:
    """Counts the pixels of one image by one candidate; a block is an image, of each in turn."""

    pairs: Pairs
    candidates: tuple[Candidate, ...]

    def __call__(self, block: Block) -> dict[str, list[list[int]]]:
        candidate, image = divmod(block.index, len(self.pairs))
        materials = self.pairs.materials
        annotated = self.pairs[image].read(materials)
        both = annotated.indices, self.candidates[candidate].indices(annotated.image)
        return {
            "pixels": confusion(*both, len(materials)).tolist(),
            "boundaries": boundary_counts(*both, len(materials)).tolist(),
        }


@dataclass(frozen=True)
class _Conclusion:
    """Writes the tables from the counts of all images."""

    product: ScoresProduct
    pairs: Pairs
    models: tuple[Path, ...]
    others: tuple[tuple[str, str], ...]
    journal: Journal
    recipe: Recipe

    def __call__(self) -> None:
        candidates = len(self.models) + len(self.others)
        results = self.journal.all_results(candidates * len(self.pairs))
        tables = (
            np.array([result[name] for result in results], np.int64)
            for name in ("pixels", "boundaries")
        )
        images, k = len(self.pairs), len(self.pairs.materials)
        counts = Counts(
            self.models,
            self.others,
            tuple(pair.name for pair in self.pairs),
            self.pairs.materials,
            *(table.reshape(-1, images, k, table.shape[-1]) for table in tables),
        )
        write_scores(self.product, counts, self.recipe)


def evaluate(
    models: Model | Sequence[Model],
    pairs: Pairs,
    output: str | Path,
    *,
    baseline: Pairs | None = None,
    together: bool = False,
    decode: Decode | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> Plan[Scores]:
    """Plan to score `models` on `pairs`, which no model should have been trained on.

    Each model labels by its own decode rule unless `decode` is given; a pixel that reaches no
    threshold is wrong. If `together`, what all models decide by their mean probability is scored as
    one more, called together, as `segment` does with several. With `baseline`, the pairs that the
    models were trained on, a pixel random forest learns from the same slices and is scored as one
    more, called pixel forest. All pairs are read and checked here. Raises InputError for models or
    a baseline of other materials or another type of images, for models that cannot decide together,
    and where a baseline is asked for and scikit-learn is not installed.
    """
    models = (models,) if isinstance(models, Model) else tuple(models)
    if not models:
        raise UsageError("no model to evaluate; give at least one model file")
    facts = pairs.check()
    for model in models:
        _require_fit(model, pairs, facts[0], decode)
    product = ScoresProduct(Path(output))
    precision = choose_precision(precision, device_called(device))
    options = {"precision": precision, "decode": decode, "together": together}
    recipe = _recipe(models, pairs, baseline, options)
    added: list[Baseline] = []
    if baseline is not None:
        added.append(plan_baseline(baseline, pairs, facts, product.work, recipe))
    groups: list[tuple[Model, ...]] = [(model,) for model in models]
    if together:
        groups.append(_ensemble(models, decode))
    candidates: tuple[Candidate, ...] = (
        *(_network(group, device, precision, decode) for group in groups),
        *(each.forest for each in added),
    )
    others = [
        *([(_ENSEMBLE, "ensemble")] if together else []),
        *([(_BASELINE, "baseline")] if baseline else []),
    ]
    files = tuple(model.path.absolute() for model in models)
    journal = Journal(product.work / "images")
    text_bytes = _IMAGE_TEXT_BYTES * len(pairs) * len(candidates)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(*(each.sampling for each in added), _scoring(pairs, candidates, journal)),
        conclude=_Conclusion(product, pairs, files, tuple(others), journal, recipe),
        peak_memory=_memory(groups, facts, added),
        reads=len(candidates) * pairs.disk_bytes
        + sum(model.path.stat().st_size for model in models)
        + sum(each.reads for each in added),
        writes=text_bytes + sum(each.writes for each in added),
        notes=(*_notes(models, pairs), *_notes_of_baseline(baseline, models, pairs)),
    )


def _ensemble(models: Sequence[Model], decode: Decode | None) -> tuple[Model, ...]:
    if len(models) == 1:
        raise UsageError("one model decides alone; give several models to score them together")
    require_alike(models, decode)
    return tuple(models)


def _network(
    models: Sequence[Model], device: str, precision: Precision, decode: Decode | None
) -> Network:
    files = tuple((model.path.absolute(), model.digest) for model in models)
    return Network(files, device, precision, decode or models[0].card.decode)


def _scoring(pairs: Pairs, candidates: tuple[Candidate, ...], journal: Journal) -> Stage:
    return Stage(
        name="evaluate",
        task=EvaluateImage(pairs, candidates),
        blocks=counted([1] * len(candidates) * len(pairs)),
        journal=journal,
    )


def _recipe(
    models: Sequence[Model], pairs: Pairs, baseline: Pairs | None, options: Mapping[str, Any]
) -> Recipe:
    learned = {} if baseline is None else {"baseline": baseline.recipe_inputs()}
    return Recipe(
        verb="evaluate",
        format=_FORMAT,
        inputs={"models": [model.digest for model in models], **pairs.recipe_inputs(), **learned},
        options=options,
    )


def _require_fit(model: Model, pairs: Pairs, facts: Facts, decode: Decode | None) -> None:
    known, wanted = model.card.materials.names, pairs.materials.names
    if known != wanted:
        raise InputError(
            f"the model {model.path} knows {', '.join(known)} but the pairs in {pairs.folder} "
            f"show {', '.join(wanted)}; both need the same materials in the same order"
        )
    if (decode or model.card.decode) == "threshold_sum":
        raise UsageError(
            f"{model.path} would label by threshold_sum, which may name several materials for a "
            "pixel; score what it decides by argmax or threshold (--decode)"
        )
    if model.card.grey.dtype != facts.dtype:
        raise InputError(
            f"the model {model.path} learned from {model.card.grey.dtype} images but those in "
            f"{pairs.folder} are {facts.dtype}: grey values would mean something else"
        )


def _memory(
    groups: Sequence[tuple[Model, ...]], facts: Sequence[Facts], added: Sequence[Baseline]
) -> int:
    """Of networks that decide together and the forest, as both stay in one process."""
    cards = [[model.card for model in group] for group in groups]
    networks = [ensemble_bytes(group, fact.size) for group in cards for fact in facts]
    sizes = [fact.size for fact in (*facts, *(fact for each in added for fact in each.facts))]
    slices = _PIXEL_BYTES * max(y * x for y, x in sizes)
    return max(networks) + slices + sum(each.peak_memory for each in added)


def _notes(models: Sequence[Model], pairs: Pairs) -> Iterator[str]:
    for model in models:
        yield from _seen_again(model.path.name, _seen_by(model), pairs)


def _notes_of_baseline(
    baseline: Pairs | None, models: Sequence[Model], pairs: Pairs
) -> Iterator[str]:
    if baseline is None:
        return
    names = {pair.name for pair in baseline}
    yield from _seen_again(f"the {_BASELINE}", names, pairs)
    others = [model.path.name for model in models if _seen_by(model) not in (set(), names)]
    if others:
        yield (
            f"WARNING: {', '.join(others)} learned from other images than the {_BASELINE}: the "
            "difference of their scores is not that of the methods alone"
        )


def _seen_by(model: Model) -> set[str]:
    """Names of the images that a model was trained or chosen on, where its card says them."""
    training = model.card.training
    return {*training.trained_on, *training.validated_on} if training else set()


def _seen_again(name: str, seen: set[str], pairs: Pairs) -> Iterator[str]:
    again = sorted(seen.intersection(pair.name for pair in pairs))
    if again:
        yield (
            f"WARNING: {name} was trained or chosen on {len(again)} images of these names "
            f"({again[0]}): on images it has seen, scores are too good"
        )
