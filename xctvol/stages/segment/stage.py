"""The plan of a segmentation: slabs of whole shards, each done by one task."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from xctvol.errors import InputError, UsageError
from xctvol.grid import Box
from xctvol.journal import Journal, Recipe
from xctvol.labels import Labels, LabelsProduct
from xctvol.materials import Materials
from xctvol.model.agreement import Agreement, sample_slices
from xctvol.model.card import Affine, Card, Decode
from xctvol.model.decode import rule_of
from xctvol.model.devices import Precision, choose_precision, device_called
from xctvol.model.ensemble import require_alike
from xctvol.model.file import Model
from xctvol.model.memory import details_bytes, ensemble_bytes, loading_bytes
from xctvol.model.networks import weight_bytes
from xctvol.model.overlaps import with_overlaps
from xctvol.model.suitability import doubts, doubts_of_probabilities, stored_grey
from xctvol.plan import Plan, Stage
from xctvol.resources import available_memory, thread_budget
from xctvol.stages.segment.comparison import Comparison
from xctvol.stages.segment.prediction import Prediction
from xctvol.stages.segment.probabilities import ProbabilityImages
from xctvol.stages.segment.slab import SegmentSlab
from xctvol.stages.segment.where import Chosen, Where
from xctvol.units import format_bytes
from xctvol.volume import (
    SLAB,
    Checksums,
    Codec,
    Image,
    Volume,
    bytes_in_transit,
    image_label,
    layout_of,
    list_label,
    reading_bytes,
    release,
)

__all__ = ["segment"]

_EVERYWHERE = Where()
_SLOTS = {"cpu": 1, "cuda": 3}  # a GPU waits while its slabs are read and written, a CPU does both
_SLABS_A_WORKER = 4  # at least: then the last slab of each is a small part of its work
_SHAPED_BY = ("torch", "torchvision", "numpy")
_PROCESS_BYTES = 850_000_000  # interpreter, torch and its libraries, as far as they are touched


def segment(  # noqa: PLR0913 - the options of the verb, all given by name
    volume: Volume,
    models: Model | Sequence[Model],
    *,
    labels: str = "tissue",
    device: str = "auto",
    precision: Precision = "auto",
    where: Where = _EVERYWHERE,
    decode: Decode | None = None,
    probabilities: bool = False,
    strict: bool = False,
) -> Plan[Labels]:
    """Plan to label the voxels of `volume`, or only those that `where` says.

    They go into `labels/NAME` inside the volume. In fp32 they are those of the plain network
    followed by the decode rule, the card's unless it is given; several models decide by their
    mean probability. `device` is that of the processes that predict; `auto` is decided here. `auto`
    precision is fp32 on a CPU and fp16 on a GPU; below fp32, a few slices are compared with it
    before anything else. `probabilities` of all materials are written inside the labels' group.
    Raises InputError where a model does not know the grey values of this volume, where models
    cannot decide together, and, if `strict`, where anything speaks against them.
    """
    together = (models,) if isinstance(models, Model) else tuple(models)
    require_alike(together, decode)
    card, place = together[0].card, device_called(device)
    product = _product(volume, labels, where)
    prediction = _prediction(volume, together, str(place), precision, decode)
    rule_of(prediction.decode, card.materials)  # refuses labels whose sums cannot be read
    _named(card.materials, prediction.decode, range(256))  # and sums that cannot be named
    warnings = _doubts(volume, together, prediction, probabilities=probabilities, strict=strict)
    image = Image(product.path, volume.shape, np.dtype(np.uint8), Codec("zstd"))
    details = _details(image, card, prediction) if probabilities else None
    grey, chosen = stored_grey(volume, card), where.within(volume)
    task = SegmentSlab(
        volume.path, image, prediction, grey, chosen,
        _comparison(volume, prediction, grey, chosen), details,
    )  # fmt: skip  # in the order of its fields
    options = {
        "labels": labels,
        "precision": prediction.precision,
        "where": where.to_json(),
        "decode": prediction.decode,
        "probabilities": probabilities,
    }
    inputs = {"volume": volume.digest, "model": [model.digest for model in together]}
    recipe = Recipe("segment", inputs, options)
    journal, slots = Journal(product.work / "slabs"), _SLOTS[place.type]
    held = _slot_bytes(volume, where, place) + _detail_bytes(volume, details, prediction.threads)
    slabs = Stage(
        "segment", task, image.layout.slabs, journal, slots=slots, threads=prediction.threads
    )
    return Plan(
        recipe=recipe,
        product=product,
        stages=(slabs,),
        conclude=lambda: _conclude(volume, together, task, recipe, journal),
        peak_memory=_process_bytes(together, prediction) + slots * held,
        reads=math.prod(volume.shape) * volume.dtype.itemsize,
        writes=image.nbytes + (details.nbytes if details else 0),
        notes=(*_notes(together, prediction, where), *warnings),
    )


def _product(volume: Volume, labels: str, where: Where) -> LabelsProduct:
    product = LabelsProduct(volume.path, labels)
    if where.mask is not None and where.mask.volume.path == product.path:
        raise UsageError(
            f"the mask {labels!r} cannot be written over; give the labels another name"
        )
    return product


def _prediction(
    volume: Volume,
    models: Sequence[Model],
    device: str,
    precision: Precision,
    decode: Decode | None,
) -> Prediction:
    place = device_called(device)
    needed = ensemble_bytes([model.card for model in models], volume.shape[1:])
    return Prediction(
        models=tuple((model.path.absolute(), model.digest) for model in models),
        device=device,
        precision=choose_precision(precision, place),
        decode=decode or models[0].card.decode,
        needed_bytes=needed,
        threads=_threads(len(layout_of(volume.shape).slabs), needed) if place.type == "cpu" else 1,
    )


def _threads(slabs: int, needed_bytes: int) -> int:
    """Slices that a process predicts side by side, as far as there is memory for them.

    One, with a process for each processor, where there are many slabs; with few, processes that
    have several processors each end at about the same time.
    """
    processors = thread_budget()
    wanted = min(processors, -(-_SLABS_A_WORKER * processors // slabs))
    return max(1, min(wanted, available_memory() // needed_bytes - 1))


def _comparison(
    volume: Volume, prediction: Prediction, grey: Affine, chosen: Chosen
) -> Comparison | None:
    """With fp32, on a sample of the region's slices."""
    if prediction.precision == "fp32":
        return None
    exact, roi = replace(prediction, precision="fp32"), chosen.roi or Box.whole(volume.shape)
    places = tuple(roi.start[0] + place for place in sample_slices(roi.shape[0]))
    return Comparison(prediction, exact, volume.path, grey, chosen, places)


def _details(image: Image, card: Card, prediction: Prediction) -> ProbabilityImages:
    return ProbabilityImages(image.path / "probabilities", image.shape, card.materials, prediction)


def _doubts(
    volume: Volume,
    models: Sequence[Model],
    prediction: Prediction,
    *,
    probabilities: bool,
    strict: bool,
) -> tuple[str, ...]:
    """Warnings about models, this scan, and what is asked; if `strict`, an InputError instead."""
    matter = probabilities or prediction.decode != "argmax"
    found = dict.fromkeys(
        f"{model.path.name}: {doubt}"
        for model in models
        for doubt in (
            *doubts(volume, model.card),
            *(doubts_of_probabilities(model.card) if matter else ()),
        )
    )
    if found and strict:
        raise InputError(f"{'; '.join(found)} (refused as --strict was given)")
    return tuple(f"WARNING: {doubt}" for doubt in found)


def _named(materials: Materials, decode: Decode, labels: Iterable[int]) -> Materials:
    """The materials, and those of `labels` that are sums, where labels are summed."""
    return with_overlaps(materials, labels) if decode == "threshold_sum" else materials


def _conclude(
    volume: Volume, models: Sequence[Model], task: SegmentSlab, recipe: Recipe, journal: Journal
) -> None:
    image, materials = task.image, models[0].card.materials
    results = journal.all_results(len(image.layout.slabs))
    voxels: Counter[str] = Counter()
    for result in results:
        voxels.update(result["voxels"])
    materials = _named(materials, recipe.options["decode"], map(int, voxels))
    own = {
        "recipe": recipe.to_json(),
        "materials": materials.to_json(),
        "models": [
            {"file": m.path.name, "digest": m.digest, "architecture": m.card.architecture}
            for m in models
        ],
        "voxels": dict(voxels),
        "skipped_slices": sum(result["skipped"] for result in results),
        "versions": {name: version(name) for name in _SHAPED_BY},
    }
    if "agreement" in results[0]:
        own["agreement_with_fp32"] = Agreement.from_json(results[0]["agreement"]).share
    release()
    if task.probabilities is not None:
        task.probabilities.finish(volume.spacing, recipe, [r["details"] for r in results])
    checksums = Checksums.joined((result["shards"], ()) for result in results)
    label = {"image-label": image_label(materials, "../../")}
    image.finish(volume.spacing, label, own, checksums)
    list_label(volume.path, image.path.name)


def _notes(models: Sequence[Model], prediction: Prediction, where: Where) -> tuple[str, ...]:
    limits = [f"{name} {value}" for name, value in where.to_json().items()]
    return (
        *(f"model {model.path.name}: {model.card.architecture}" for model in models),
        f"{', '.join(models[0].card.materials.names)} by {prediction.decode}",
        f"{prediction.precision} on the {device_called(prediction.device).type} of each worker, up "
        f"to {format_bytes(prediction.needed_bytes)} for a slice",
        *([f"only {', '.join(limits)}"] if limits else []),
    )


def _process_bytes(models: Sequence[Model], prediction: Prediction) -> int:
    """What a process holds besides its blocks.

    Below fp32 that is the networks once more, to compare with, and their layers in half the bytes.
    """
    cards = [model.card for model in models]
    again = 0
    if prediction.precision != "fp32":
        weights = sum(weight_bytes(card.architecture, len(card.materials)) for card in cards)
        again = weights + weights // 2
    predicting = prediction.threads * prediction.needed_bytes
    return _PROCESS_BYTES + again + max(loading_bytes(cards), predicting)


def _slot_bytes(volume: Volume, where: Where, place: torch.device) -> int:
    """What one block holds: its slices, its labels, and what they become at every level.

    That is 1/7 of them; the rest of a second slab of labels is for arrays on their way to files.
    A region takes a byte a voxel, a mask two.
    """
    depth, height, width = min(SLAB, volume.shape[0]), *volume.shape[1:]
    voxels = depth * height * width
    stored = voxels * volume.dtype.itemsize
    beside = 1 + (where.roi is not None) + 2 * (where.mask is not None)
    kept = (_kept_bytes(stored, place), _kept_bytes(voxels, place))
    reading = bytes_in_transit(volume.path, stored) + reading_bytes(
        volume.levels[0], [Box((0, 0, 0), (depth, height, width))]
    )
    return sum(kept) + reading + beside * voxels


def _kept_bytes(nbytes: int, place: torch.device) -> int:
    """Of an array; torch takes pinned memory, which GPUs copy from, in powers of two."""
    return 1 << (nbytes - 1).bit_length() if place.type == "cuda" else nbytes


def _detail_bytes(volume: Volume, details: ProbabilityImages | None, threads: int) -> int:
    """The details of a block, one of its images again, and what `threads` slices need meanwhile."""
    if details is None:
        return 0
    depth, *size = min(SLAB, volume.shape[0]), *volume.shape[1:]
    images = len(details.images) + 2
    meanwhile = threads * details_bytes(images, (size[0], size[1]))
    return images * depth * math.prod(size) + meanwhile
