"""What is known of a training before it starts: memory, and what people should be told."""

import math
from collections.abc import Iterator, Sequence

import torch

from xctvol.model.devices import choose_device
from xctvol.model.memory import prediction_bytes, training_bytes
from xctvol.model.networks import weight_bytes
from xctvol.pairs import Facts, Pairs
from xctvol.stages.train.fit import rng_of
from xctvol.stages.train.losses import loss_called
from xctvol.stages.train.settings import Settings
from xctvol.stages.train.splits import describe, split_pairs
from xctvol.stages.train.starting import read_starting
from xctvol.units import format_bytes

__all__ = ["device_bytes", "host_bytes", "notes_on"]

_PIXEL_BYTES = 16  # of a pixel in memory: as stored, annotation, and as the network sees it
_LOSS_ARRAYS = 4  # of the size of the logits, in float32, while a loss is computed
_PROCESS_BYTES = 600_000_000  # Python and torch, and the workspaces of its convolutions
_LOADED = 4  # weights held on the host at a time while a GPU trains


def host_bytes(facts: Sequence[Facts], settings: Settings, materials: int) -> int:
    """Bytes of the host that one replicate holds at most."""
    kept = _PROCESS_BYTES + _PIXEL_BYTES * sum(math.prod(fact.size) for fact in facts)
    if choose_device(settings.device).type == "cuda":
        return kept + _LOADED * weight_bytes(settings.architecture, materials)
    return kept + device_bytes(facts, settings, materials)


def device_bytes(facts: Sequence[Facts], settings: Settings, materials: int) -> int:
    """Bytes that a step, or the validation of a whole slice, holds at most in fp32."""
    crop = settings.crop
    largest = settings.seen(max((fact.size for fact in facts), key=math.prod))
    shape = (settings.batch, *(largest if crop is None else (crop, crop)))
    learning = training_bytes(
        settings.architecture,
        materials,
        shape,
        loss_called(settings.loss, [1] * materials, torch.device("cpu")),
        checkpointing=settings.checkpointing,
    )
    kept = 3 * weight_bytes(settings.architecture, materials)  # the best, and Adam's two moments
    validating = prediction_bytes(settings.architecture, materials, largest)
    return max(learning, kept + validating + 4 * _LOSS_ARRAYS * materials * math.prod(largest))


def notes_on(pairs: Pairs, facts: Sequence[Facts], settings: Settings) -> Iterator[str]:
    """Lines for people: the split, what is not annotated, and what cannot be learned."""
    learning, choosing = split_pairs(pairs, settings, 0, rng_of(settings, 0, 0))
    yield describe(learning, choosing, settings)
    pixels = sum(math.prod(fact.size) for fact in facts)
    unknown = 1 - sum(sum(fact.pixels) for fact in facts) / pixels
    if unknown:
        yield f"{unknown:.1%} of the pixels are not annotated: they neither train nor score"
    yield from _missing(pairs, facts, settings)
    if settings.weights is not None:
        left = read_starting(settings.weights, settings.architecture, pairs.materials).left
        yield f"starts from {settings.weights.name}" + (
            f"; {', '.join(left)} start at random, as they were trained for other materials"
            if left
            else ""
        )
    device = choose_device(settings.device)
    if device.type == "cuda":
        need = device_bytes(facts, settings, len(pairs.materials))
        free, _ = torch.cuda.mem_get_info(device)
        yield f"holds up to {format_bytes(need)} on {device}, {format_bytes(free)} are free"


def _missing(pairs: Pairs, facts: Sequence[Facts], settings: Settings) -> Iterator[str]:
    """Materials that cannot be learned, because no mask shows them or the split took them away."""
    shown = {pair.name: fact.pixels for pair, fact in zip(pairs, facts, strict=True)}
    splits = [
        split_pairs(pairs, settings, replicate, rng_of(settings, replicate, 0))[0]
        for replicate in range(settings.replicates)
    ]
    for index, material in enumerate(pairs.materials):
        if not any(fact.pixels[index] for fact in facts):
            yield (
                f"WARNING: no mask in {pairs.folder} shows {material.name}: the model cannot learn "
                "it; annotate it, or take it out of the table"
            )
            continue
        without = [
            replicate
            for replicate, learning in enumerate(splits, 1)
            if not any(shown[pair.name][index] for pair in learning)
        ]
        if without:
            showing = next(pair for pair in pairs if shown[pair.name][index])
            yield (
                f"WARNING: {material.name} is shown by slices that choose the best epoch only "
                f"(as {showing.image}), so that replicate {without[0]} cannot learn it; annotate "
                "it on more slices, or use another --seed or --validation"
            )
