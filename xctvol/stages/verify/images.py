"""What is verified of an image: its slabs, and the source that they were made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xctvol.errors import InputError
from xctvol.grid import Block, Index3
from xctvol.journal import Journal
from xctvol.labels import ByMaterials, Keep, LabelRule, NonZero
from xctvol.locations import Location
from xctvol.materials import Materials
from xctvol.plan import Stage, Task
from xctvol.sources import Source
from xctvol.stages.verify.slabs import AsLabels, AsWindow, Original, VerifySlab, renewed
from xctvol.volume import (
    Checksums,
    Image,
    ShardedArray,
    Volume,
    halve_grey,
    halve_labels,
    label_names,
    open_volume,
    read_attributes,
)

__all__ = ["CheckedImage", "check_image", "images_in"]


@dataclass(frozen=True)
class CheckedImage:
    """One image of what is verified: the volume's own, ".", one of its labels, or of these."""

    name: str
    volume: Volume
    image: Image
    are_labels: bool
    stage: Stage

    def results(self) -> list[tuple[Block, dict[str, Any]]]:
        """What was found in each slab; raises PartialError where one is not known."""
        blocks = self.stage.blocks
        return list(zip(blocks, self.stage.journal.all_results(len(blocks)), strict=True))

    def called(self, name: str) -> str:
        """What a shard of this image is called in the whole."""
        return name if self.name == "." else f"{self.name}/{name}"

    def renew_checksums(self) -> None:
        """Record those of shards that were written anew, where a library made other bytes."""
        before = Checksums.read([level.path for level in self.image.levels])
        if before is None:
            return
        after = before
        for block, result in self.results():
            after = renewed(self.image, block, after, dict(result.get("written", [])))
        if after != before:
            for number, level in enumerate(self.image.levels):
                level.write_metadata(after.attributes(number))


def images_in(path: Location) -> Iterator[str]:
    """Names of all images of a volume: its own, its labels, and what lies inside these."""
    yield from _with_probabilities(path, ".")
    for name in label_names(path):
        yield from _with_probabilities(path / "labels" / name, f"labels/{name}")


def _with_probabilities(path: Location, name: str) -> Iterator[str]:
    yield name
    inside = path / "probabilities"
    if inside.is_dir():
        prefix = "" if name == "." else f"{name}/"
        images = sorted(place.name for place in inside.iterdir() if place.is_dir())
        yield from (f"{prefix}probabilities/{image}" for image in images)


def check_image(
    path: Location,
    name: str,
    work: Location,
    task: Callable[[str, VerifySlab], Task],
    source: Source | None,
) -> CheckedImage:
    """The image `name` inside `path`; raises InputError for one of another program."""
    volume = open_volume(path / name)
    image = _image(volume)
    are_labels = "image-label" in read_attributes(volume.path)[0]
    original = None
    if source is not None:
        original = _labels_original(volume, source) if are_labels else _original(volume, source)
    check = VerifySlab(image, halve_labels if are_labels else halve_grey, original)
    stage = Stage(name, task(name, check), image.layout.slabs, Journal(work / name))
    return CheckedImage(name, volume, image, are_labels, stage)


def _image(volume: Volume) -> Image:
    """The volume as this package writes it; raises InputError for one of another program."""
    finest = volume.levels[0]
    if isinstance(finest, ShardedArray):
        image = Image(volume.path, volume.shape, volume.dtype, finest.codec)
        if image.levels == volume.levels:
            return image
    raise InputError(
        f"{volume.path} was not written by xctvol, so how its levels were made is unknown and "
        "there is nothing to compare them with"
    )


def _original(volume: Volume, source: Source) -> Original:
    """How the source became this volume; raises InputError where it cannot have."""
    if source.shape != volume.shape or source.dtype != volume.source_dtype:
        raise InputError(
            f"{volume.path} was made from {_size(volume.shape)} voxels of {volume.source_dtype}, "
            f"but the source has {_size(source.shape)} of {source.dtype}; name the very scan, with "
            "the same --roi, --dataset and --raw as then"
        )
    return Original(source, AsWindow(volume.window))


def _labels_original(volume: Volume, source: Source) -> Original:
    rule = _rule(volume, source)
    if source.shape != volume.shape or rule.dtype != volume.dtype:
        raise InputError(
            f"{volume.path} has {_size(volume.shape)} labels of {volume.dtype}, but the source "
            f"has {_size(source.shape)} voxels of {source.dtype}; name the very stack, with the "
            "same --roi, --dataset and --raw as then"
        )
    return Original(source, AsLabels(rule))


def _rule(volume: Volume, source: Source) -> LabelRule:
    """What turned the values of the source into labels, as the volume's recipe has it."""
    stated = volume.recipe.options.get("labels") if volume.recipe else None
    if isinstance(stated, list):
        return ByMaterials(Materials.from_json(stated))
    if isinstance(stated, dict):
        return NonZero(str(stated["nonzero"]))
    if stated is None or source.dtype.kind not in "ui":
        raise InputError(f"{volume.path} was not converted from this source of {source.dtype}")
    return Keep(source.dtype)


def _size(shape: Index3) -> str:
    return " x ".join(map(str, shape))
