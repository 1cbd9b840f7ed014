"""The plans of verify: every slab of the images of a volume, every file of a folder of tables."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xctvol.errors import InputError, UsageError
from xctvol.files import remove_tree, sha256, states_below
from xctvol.journal import Journal, Recipe
from xctvol.locations import Location, S3Path, located
from xctvol.plan import FolderRecord, Plan, Stage, Task, finished_folder
from xctvol.resources import thread_budget
from xctvol.sources import Source
from xctvol.sources.slabs import held_bytes
from xctvol.stages.verify import remedies
from xctvol.stages.verify.again import Again, Remake
from xctvol.stages.verify.folders import CheckFile
from xctvol.stages.verify.images import CheckedImage, check_image, images_in
from xctvol.stages.verify.slabs import RepairSlab, VerifySlab
from xctvol.stages.verify.verdict import Verdict, VerdictProduct
from xctvol.volume import SLAB, bytes_in_transit, open_volume, release

__all__ = ["repair", "verify"]

_WORK = ".verify-"
_PROCESS_BYTES = 200_000_000  # interpreter and libraries
_GREY_BYTES, _LABEL_BYTES = 8, 48  # for a voxel of a slice, in each thread: decoding, counting

OfSlab = Callable[[str, VerifySlab], Task]
"""The task for the slabs of the image of that name."""


def verify(path: str | Location, source: Source | None = None) -> Plan[Verdict]:
    """Plan to read again all that a volume, labels, or a folder of tables holds.

    Shards, of the labels inside a volume too, are compared with the checksums recorded when they
    were written, coarser levels with what level 0 becomes when it is halved and, with `source`,
    every voxel with what the source says. Files of measurements, scores and studies are compared
    with the digests in their record. Writes nothing into the product. Raises InputError for what
    is none of these, for a volume of another program, and for a source of another shape or type.
    """
    return _plan("verify", located(path), source, lambda _, check: check)


def repair(
    path: str | Location, source: Source | None = None, remake: Remake | None = None
) -> Plan[Verdict]:
    """Plan to verify a volume or labels, and to write slabs anew in which shards are bad.

    With `source`, whatever is bad; with `remake`, what makes labels again, whatever comes out as
    the very bytes that are missing; without either, coarser levels where level 0 is good. Raises
    UsageError for tables, which are made by one command as a whole.
    """

    def task(name: str, check: VerifySlab) -> Task:
        return RepairSlab(check, None if remake is None else Again(remake, name))

    plan = _plan("repair", located(path), source, task)
    held = 0 if remake is None else remake.peak_memory
    return replace(plan, peak_memory=plan.peak_memory + held)


@dataclass(frozen=True)
class _Subject:
    """What is verified: images, or the files of a folder and the images in it."""

    path: Location
    digest: str
    record: FolderRecord | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: Location) -> "_Subject":
        if isinstance(path, Path) and path.is_file():
            raise InputError(
                f"{path} is a file; what can be verified are volumes, labels, and the folders that "
                "measure, evaluate, study and export write"
            )
        record = finished_folder(path)
        if record is None:
            return cls(path, open_volume(path).digest, None, tuple(images_in(path)))
        instances = record.says.get("instances")
        names = () if instances is None else (Path(str(instances)).name,)
        return cls(path, sha256(record.path), record, names)


def _plan(verb: str, path: Location, source: Source | None, task: OfSlab) -> Plan[Verdict]:
    subject = _Subject.of(path)
    if subject.record is not None and (verb == "repair" or source is not None):
        raise UsageError(
            f"{path} holds {subject.record.kind}, which are made as a whole: "
            f"{remedies.for_folder(subject.record)}"
        )
    inputs = {
        "volume": subject.digest,
        "shards": _state(path),
        "source": source.identity() if source else None,
    }
    recipe = Recipe(verb, inputs, {})
    product = VerdictProduct(_work(path, recipe))
    images = tuple(
        check_image(path, name, product.work, task, source if name == "." else None)
        for name in subject.names
    )
    files = () if subject.record is None else (_files_stage(subject.record, product.work),)
    stages = (*files, *(item.stage for item in images))

    def conclude() -> None:
        product.verdict = _verdict(subject, files, images)
        for item in images:
            item.renew_checksums()
        for stale in path.glob(f"{_WORK}*"):
            if stale != product.work:  # which the plan removes itself
                remove_tree(stale)
        release()

    return Plan(
        recipe=recipe,
        product=product,
        stages=stages,
        conclude=conclude,
        peak_memory=_PROCESS_BYTES + max((_slab_bytes(item, source) for item in images), default=0),
        reads=sum(item.image.nbytes for item in images) + _nbytes(source) + _file_bytes(subject),
        writes=0,
        notes=source.summary() if source else (),
    )


def _files_stage(record: FolderRecord, work: Location) -> Stage:
    check = CheckFile(record)
    return Stage("files", check, check.blocks, Journal(work / "files"), unit="blocks")


def _verdict(
    subject: _Subject, files: tuple[Stage, ...], images: tuple[CheckedImage, ...]
) -> Verdict:
    read = [result for stage in files for result in stage.journal.all_results(len(stage.blocks))]
    slabs = [(item, *found) for item in images for found in item.results()]
    damaged = dict.fromkeys(remedies.for_image(item.volume) for item, _, r in slabs if r["bad"])
    if subject.record is not None and (damaged or any(result["bad"] for result in read)):
        damaged = dict.fromkeys([remedies.for_folder(subject.record)])
    own = [result for item, _, result in slabs if item.name == "."]
    first = images[0].volume if images and images[0].name == "." else None
    return Verdict(
        path=subject.path,
        shards=sum(result["shards"] for _, _, result in slabs),
        files=len(read),
        bad=(*_bad_files(read), *_bad_shards(slabs)),
        repaired=tuple(
            item.called(name) for item, _, result in slabs for name in result.get("repaired", [])
        ),
        remedies=tuple(damaged),
        other_slices=tuple(line for result in own for line in result["other_slices"]),
        compared=sum(result["compared"] for result in own),
        slices=first.shape[0] if first else 0,
        window=first.window if first else None,
    )


def _bad_files(read: list[dict[str, Any]]) -> Iterator[str]:
    return (f"{name} {why}" for result in read for name, why in result["bad"])


def _bad_shards(slabs: list[tuple[CheckedImage, Any, dict[str, Any]]]) -> Iterator[str]:
    for item, block, result in slabs:
        where = item.stage.name_of(block)
        yield from (f"{item.called(name)} ({where}) {why}" for name, why in result["bad"])


def _state(path: Location) -> str:
    """Changes when any file of the product does."""
    files = states_below(path).items()
    states = [[name, *state] for name, state in files if not name.startswith(_WORK)]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def _work(path: Location, recipe: Recipe) -> Location:
    """Beside the shards, for workers on other machines; where nothing may be written, here."""
    beside = isinstance(path, S3Path) or os.access(path, os.W_OK)
    folder = path if beside else Path(tempfile.gettempdir())
    return folder / f"{_WORK}{recipe.digest[:16]}"


def _nbytes(source: Source | None) -> int:
    return math.prod(source.shape) * source.dtype.itemsize if source else 0


def _file_bytes(subject: _Subject) -> int:
    names = () if subject.record is None else subject.record.files
    states = states_below(subject.path) if names else {}
    return sum(states[name][0] for name in names if name in states)


def _slab_bytes(item: CheckedImage, source: Source | None) -> int:
    """The slab as read again, its coarser levels twice, and the source's as read and as stored."""
    volume = item.volume
    depth, (_, height, width) = min(SLAB, volume.shape[0]), volume.shape
    plane = height * width
    per_voxel = volume.dtype.itemsize * 1.5
    if source is not None:
        per_voxel += source.dtype.itemsize + volume.dtype.itemsize
    working_bytes = _LABEL_BYTES if item.are_labels else _GREY_BYTES
    threads = min(thread_budget(), depth) * plane * working_bytes
    held = held_bytes(source) if source is not None else 0
    held += bytes_in_transit(volume.path, depth * plane * volume.dtype.itemsize)
    return int(depth * plane * per_voxel) + threads + held
