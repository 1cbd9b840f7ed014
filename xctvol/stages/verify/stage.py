"""The plans of verify: every slab of an image, and of the label images inside it."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xctvol.errors import InputError, PartialError
from xctvol.files import remove_tree
from xctvol.grid import Index3
from xctvol.journal import Journal, Recipe, file_identity
from xctvol.labels import ByMaterials, Keep, LabelRule, NonZero
from xctvol.materials import Materials
from xctvol.plan import Plan, Stage, Task
from xctvol.resources import thread_budget
from xctvol.sources import Source
from xctvol.sources.slabs import held_bytes
from xctvol.stages.verify.slabs import (
    AsLabels,
    AsWindow,
    Original,
    RepairSlab,
    VerifySlab,
    renewed,
)
from xctvol.stages.verify.verdict import Verdict, VerdictProduct
from xctvol.volume import (
    SLAB,
    Checksums,
    Image,
    ShardedArray,
    Volume,
    halve_grey,
    halve_labels,
    label_names,
    open_volume,
    read_attributes,
    release,
)

__all__ = ["repair", "verify"]

_WORK = ".verify-"
_PROCESS_BYTES = 200_000_000  # interpreter and libraries
_GREY_BYTES, _LABEL_BYTES = 8, 48  # for a voxel of a slice, in each thread: decoding, counting


def verify(path: str | Path, source: Source | None = None) -> Plan[Verdict]:
    """Plan to read every shard of a volume again, and of the labels inside it.

    Bytes are compared with the checksums recorded when they were written, coarser levels with
    what level 0 becomes when it is halved and, with `source`, every voxel with what the source
    says. Writes nothing into the volume. Raises InputError for a volume of another program, and
    for a source of another shape or type.
    """
    return _plan("verify", Path(path), source, lambda check: check)


def repair(path: str | Path, source: Source | None = None) -> Plan[Verdict]:
    """Plan to verify a volume and to write slabs anew in which shards are bad.

    With `source`, whatever is bad; without one, coarser levels where level 0 is good.
    """
    return _plan("repair", Path(path), source, RepairSlab)


@dataclass(frozen=True)
class _Checked:
    """One image that is verified: the volume's own, ".", or one of its labels."""

    name: str
    image: Image
    stage: Stage

    def results(self) -> list[dict[str, Any]]:
        """What was found in each slab; raises PartialError where one is not known."""
        results = self.stage.journal.results()
        if len(results) != len(self.stage.blocks):
            raise PartialError(
                f"{self.image.path} was verified by another run meanwhile, which has removed the "
                "notes of this one; run it again"
            )
        return list(results.values())


def _plan(
    verb: str, path: Path, source: Source | None, task: Callable[[VerifySlab], Task]
) -> Plan[Verdict]:
    volume = open_volume(path)
    inputs = {
        "volume": volume.digest,
        "shards": _state(path),
        "source": source.identity() if source else None,
    }
    recipe = Recipe(verb, inputs, {})
    product = VerdictProduct(_work(path, recipe))
    checked = [
        _checked(path, name, product.work, task, source if name == "." else None)
        for name in (".", *(f"labels/{name}" for name in label_names(path)))
    ]

    def conclude() -> None:
        product.verdict = _verdict(volume, checked)
        for item in checked:
            _renew_checksums(item)
        for stale in path.glob(f"{_WORK}*"):
            if stale != product.work:  # which the plan removes itself
                remove_tree(stale)
        release()

    return Plan(
        recipe=recipe,
        product=product,
        stages=tuple(item.stage for item in checked),
        conclude=conclude,
        peak_memory=_peak_memory(volume, source),
        reads=sum(item.image.nbytes for item in checked) + _nbytes(source),
        writes=0,
        notes=source.summary() if source else (),
    )


def _checked(
    path: Path,
    name: str,
    work: Path,
    task: Callable[[VerifySlab], Task],
    source: Source | None,
) -> _Checked:
    volume = open_volume(path / name)
    image = _image(volume)
    are_labels = "image-label" in read_attributes(volume.path)[0]
    original = None
    if source is not None:
        original = _labels_original(volume, source) if are_labels else _original(volume, source)
    check = VerifySlab(image, halve_labels if are_labels else halve_grey, original)
    journal = Journal(work / name)
    return _Checked(name, image, Stage(name, task(check), image.layout.slabs, journal))


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


def _verdict(volume: Volume, checked: Sequence[_Checked]) -> Verdict:
    results = [(item, result) for item in checked for result in item.results()]
    prefixes = {item.name: "" if item.name == "." else f"{item.name}/" for item in checked}

    def lines(key: str) -> tuple[str, ...]:
        return tuple(
            f"{prefixes[item.name]}{line}"
            for item, result in results
            for line in result.get(key, [])
        )

    return Verdict(
        path=volume.path,
        shards=sum(result["shards"] for _, result in results),
        bad=lines("bad"),
        repaired=lines("repaired"),
        other_slices=lines("other_slices"),
        compared=sum(result["compared"] for _, result in results),
        slices=volume.shape[0],
        window=volume.window,
    )


def _renew_checksums(item: _Checked) -> None:
    """Record those of shards that were written anew, where another library made other bytes."""
    before = Checksums.read([level.path for level in item.image.levels])
    if before is None:
        return
    after = before
    for block, result in zip(item.stage.blocks, item.results(), strict=True):
        after = renewed(item.image, block, after, dict(result.get("written", [])))
    if after != before:
        for number, level in enumerate(item.image.levels):
            level.write_metadata(after.attributes(number))


def _state(path: Path) -> str:
    """Changes when any file of the volume does."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    mine = [file for file in files if not file.relative_to(path).parts[0].startswith(_WORK)]
    states = [[str(file.relative_to(path)), *file_identity(file)] for file in mine]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def _work(path: Path, recipe: Recipe) -> Path:
    """Beside the shards, for workers on other machines; where nothing may be written, here."""
    folder = path if os.access(path, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"{_WORK}{recipe.digest[:16]}"


def _size(shape: Index3) -> str:
    return " x ".join(map(str, shape))


def _nbytes(source: Source | None) -> int:
    return math.prod(source.shape) * source.dtype.itemsize if source else 0


def _peak_memory(volume: Volume, source: Source | None) -> int:
    """The slab as read again, its coarser levels twice, and the source's as read and as stored."""
    depth, (_, height, width) = min(SLAB, volume.shape[0]), volume.shape
    plane = height * width
    per_voxel = volume.dtype.itemsize * 1.5
    if source is not None:
        per_voxel += source.dtype.itemsize + volume.dtype.itemsize
    are_labels = "materials" in volume.own or bool(label_names(volume.path))
    working_bytes = _LABEL_BYTES if are_labels else _GREY_BYTES
    threads = min(thread_budget(), depth) * plane * working_bytes
    held = held_bytes(source) if source is not None else 0
    return int(depth * plane * per_voxel) + threads + held + _PROCESS_BYTES
