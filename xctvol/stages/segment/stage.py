"""The plan of a segmentation: slabs of whole shards, each done by one task."""

import numpy as np

from xctvol.errors import InputError
from xctvol.journal import Journal, Recipe
from xctvol.labels import Labels, LabelsProduct
from xctvol.model.card import IDENTITY, Affine, Card
from xctvol.model.devices import Precision, choose_device, choose_precision
from xctvol.model.file import Model
from xctvol.model.memory import prediction_bytes
from xctvol.plan import Plan, Stage
from xctvol.stages.segment.slab import SegmentSlab
from xctvol.volume import SLAB, Codec, Image, Volume, image_label, list_label

__all__ = ["segment"]

_PROCESS_BYTES = 600_000_000  # interpreter, torch and its libraries


def segment(
    volume: Volume,
    model: Model,
    *,
    labels: str = "tissue",
    device: str = "auto",
    precision: Precision = "auto",
) -> Plan[Labels]:
    """Plan to label every voxel of `volume`, into `labels/NAME` inside it.

    In fp32 the labels are those of the plain network followed by argmax. `auto` precision is fp32
    on a CPU and fp16 on a GPU. Raises InputError where the model does not know the grey values of
    this volume.
    """
    chosen = choose_precision(precision, choose_device(device))
    product = LabelsProduct(volume.path, labels)
    image = Image(product.path, volume.shape, np.dtype(np.uint8), Codec("zstd"))
    task = SegmentSlab(
        volume.path, image, model.path.absolute(), model.digest, device, chosen,
        stored_grey(volume, model.card),
    )  # fmt: skip  # seven short arguments
    recipe = Recipe(
        "segment",
        {"volume": volume.digest, "model": model.digest},
        {"labels": labels, "precision": chosen},
    )
    journal = Journal(product.work / "slabs")
    materials = model.card.materials

    def conclude() -> None:
        own = {
            "recipe": recipe.to_json(),
            "materials": materials.to_json(),
            "model": {"file": model.path.name, "architecture": model.card.architecture},
            "voxels": _total(journal),
        }
        image.finish(volume.spacing, {"image-label": image_label(materials, "../../")}, own)
        list_label(volume.path, labels, listed=True)

    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("segment", task, image.layout.slabs, journal),),
        conclude=conclude,
        peak_memory=_peak_memory(volume, model.card),
        reads=int(np.prod(volume.shape, dtype=np.int64)) * volume.dtype.itemsize,
        writes=image.nbytes,
        notes=(
            f"model {model.path.name}: {model.card.architecture}, {', '.join(materials.names)}",
            f"{chosen} on {choose_device(device).type}",
            *_spacing_note(volume, model.card),
        ),
    )


def stored_grey(volume: Volume, card: Card) -> Affine:
    """How stored values of `volume` become the grey values that the model was trained on.

    The model knows either the scan's original values, or the stored ones of a volume like this.
    """
    trained_on = np.dtype(card.grey.dtype)
    if trained_on == volume.source_dtype:
        if volume.window is None:
            return IDENTITY
        low, high = volume.window.low, volume.window.high
        return Affine((high - low) / 255, low)
    if trained_on == volume.dtype:
        return IDENTITY
    raise InputError(
        f"the model was trained on slices of {trained_on}, but {volume.path} holds "
        f"{volume.dtype} made from {volume.source_dtype}: there is no way to compare their grey "
        "values; train on slices of this scan, or convert the scan those slices came from"
    )


def _spacing_note(volume: Volume, card: Card) -> tuple[str, ...]:
    if card.spacing_um is None:
        return ()
    ratios = [a / b for a, b in zip(volume.spacing.zyx, card.spacing_um, strict=True)]
    if all(0.9 <= ratio <= 1.1 for ratio in ratios):
        return ()
    trained = " x ".join(f"{s:g}" for s in card.spacing_um)
    return (
        f"WARNING: the model was trained on voxels of {trained} um (z, y, x), this scan has "
        f"{volume.spacing}: expect wrong labels",
    )


def _total(journal: Journal) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in journal.results().values():
        for label, count in counts.items():
            total[label] = total.get(label, 0) + int(count)
    return total


def _peak_memory(volume: Volume, card: Card) -> int:
    depth, (_, height, width) = min(SLAB, volume.shape[0]), volume.shape
    slab = depth * height * width * (volume.dtype.itemsize + 2)
    network = prediction_bytes(card.architecture, len(card.materials), (height, width))
    return slab + network + _PROCESS_BYTES
