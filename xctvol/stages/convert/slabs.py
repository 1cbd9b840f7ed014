"""The tasks of convert: one slab, read once, stored with its part of the pyramid, accounted for."""

import functools
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import read_json, staged
from xctvol.grid import Block, Box
from xctvol.labels import LabelRule, values_of
from xctvol.locations import Location
from xctvol.resources import thread_budget
from xctvol.sources import Source
from xctvol.sources.slabs import FileStates, files_of, read_slab
from xctvol.volume import (
    Histogram,
    Image,
    Window,
    halve_grey,
    halve_labels,
    in_threads,
    reused,
)

__all__ = ["ConvertLabels", "ConvertSlab", "CountGrey", "Scan", "counts_file", "resolve"]


@dataclass(frozen=True)
class Scan:
    """A source as it was when the plan was made: no file of it newer than `newest_ns`."""

    source: Source
    newest_ns: int

    def read(self, box: Box) -> tuple[NDArray[Any], dict[str, Any]]:
        """The slab `box`, and what its journal record says of where it came from.

        Raises InputError for a file that changed since, also while it was read.
        """
        z0, z1 = box.start[0], box.stop[0]
        files = files_of(self.source, z0, z1)
        before = FileStates.of(files)
        before.refuse_changed_since(self.newest_ns)
        slab, checksums = read_slab(self.source, z0, z1)
        FileStates.of(files).refuse_other(before)
        return slab, {"files": dict(before.states), "slices": checksums}


@dataclass(frozen=True)
class CountGrey:
    """Counts the grey values of a slab; the counts go to a file, they are too many to return."""

    scan: Scan
    folder: Location

    def __call__(self, block: Block) -> Any:
        slab, _ = self.scan.read(block.write)
        step = -(-len(slab) // thread_budget())  # a thread's counts can be megabytes
        pieces = [slab[z : z + step] for z in range(0, len(slab), step)]
        histogram = functools.reduce(operator.add, in_threads(Histogram.of, pieces))
        with staged(counts_file(self.folder, block.index)) as partial, open(partial, "wb") as file:
            histogram.save(file)
        return int(histogram.counts.sum())


@dataclass(frozen=True)
class ConvertSlab:
    """Reads, windows and writes one slab; `window` may be a file that an earlier stage wrote."""

    scan: Scan
    image: Image
    window: Window | Location | None

    def __call__(self, block: Block) -> Any:
        slab, record = self.scan.read(block.write)
        window = resolve(self.window)
        stored = slab if window is None else window.stored(slab)
        shards = self.image.write(block.write.start[0], stored, halve_grey)
        return {**record, "shards": shards, "not_finite": _not_finite(slab)}


@dataclass(frozen=True)
class ConvertLabels:
    """Reads, translates and writes one slab of labels; returns the label values in it."""

    scan: Scan
    image: Image
    rule: LabelRule

    def __call__(self, block: Block) -> Any:
        slab, record = self.scan.read(block.write)
        labels = reused("stored", slab.shape, self.rule.dtype)
        z0 = block.write.start[0]

        def translate(z: int) -> set[int]:
            try:
                labels[z] = self.rule(slab[z])
            except InputError as error:
                raise InputError(f"slice {z0 + z}: {error}") from None
            return {int(value) for value in values_of(labels[z])}

        values = set().union(*in_threads(translate, range(len(slab))))
        shards = self.image.write(z0, labels, halve_labels)
        return {**record, "shards": shards, "values": sorted(values)}


def resolve(window: Window | Location | None) -> Window | None:
    return window if isinstance(window, Window | None) else Window.from_json(read_json(window))


def counts_file(folder: Location, index: int) -> Location:
    return folder / f"{index:06d}.npy"


def _not_finite(slab: NDArray[Any]) -> list[int]:
    """How many voxels are NaN, and how many infinite."""
    if slab.dtype.kind != "f":
        return [0, 0]

    def count(z: int) -> tuple[int, int]:
        if np.isfinite(slab[z]).all():
            return 0, 0
        return int(np.isnan(slab[z]).sum()), int(np.isinf(slab[z]).sum())

    return [sum(counts) for counts in zip(*in_threads(count, range(len(slab))), strict=True)]
