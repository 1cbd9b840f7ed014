"""What workers do: measure a block, link it to its neighbours, number its voxels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.grid import Block, Box, Grid, Index3
from xctvol.locations import Location
from xctvol.materials import UNLABELLED
from xctvol.stages.measure.block import (
    HALO,
    BlockMeasures,
    Subject,
    around_core,
    labelled_part,
    measure_block,
)
from xctvol.stages.measure.components import LOW_NEIGHBOURS, links
from xctvol.stages.measure.labelling import label_block
from xctvol.stages.measure.scratch import Scratch
from xctvol.stages.measure.surface import cell_table
from xctvol.volume import Image, Volume, default_codec, halve_labels, open_volume

__all__ = ["LabelReader", "LinkBlock", "MeasureBlock", "NumberSlab", "numbers_image", "reading"]


@dataclass(frozen=True)
class LabelReader:
    """Reads label values of materials; those of `others` become background."""

    volume: str
    labels: tuple[int, ...]
    others: tuple[int, ...]

    def __call__(self, volume: Volume, block: Block) -> NDArray[np.uint8]:
        """The block's voxels with HALO and PADDING, zeros outside the volume."""
        shape, _ = around_core(block.write)
        values = np.zeros(shape, np.uint8)
        low = [
            h - (c - r) for h, c, r in zip(HALO, block.write.start, block.read.start, strict=True)
        ]
        part = values[tuple(slice(a, a + n) for a, n in zip(low, block.read.shape, strict=True))]
        if volume.dtype == np.uint8:
            volume.levels[0].read_into(block.read, part)
        else:
            part[...] = _narrowed(volume.path, volume.read(block.read), block.write)
        if self.others:
            kept = np.arange(256, dtype=np.uint8)
            kept[list(self.others)] = UNLABELLED
            values = kept[values]
        return values

    def refuse_unknown(self, measures: BlockMeasures, core: Box) -> None:
        """Raise InputError where a block holds labels of no material."""
        voxels = measures.slices[:, :, 0].sum(axis=0)
        voxels[[UNLABELLED, *self.labels]] = 0
        if voxels.any():
            label = int(voxels.argmax())
            raise _unknown(self.volume, label, int(voxels[label]), core)


@dataclass(frozen=True)
class MeasureBlock:
    """Measure a block of labels, and the grey values of `scan` there, into `scratch`."""

    reader: LabelReader
    scan: str | None
    scratch: Scratch
    subject: Subject

    def __call__(self, block: Block) -> Any:
        volume = open_volume(self.reader.volume)
        values = self.reader(volume, block)
        greys = None if self.scan is None else open_volume(self.scan).read(block.write)
        table = cell_table(volume.spacing)
        measures, planes = measure_block(values, greys, block.write, table, self.subject)
        self.reader.refuse_unknown(measures, block.write)
        self.scratch.save(block.index, measures.of(self.reader.labels), planes)
        return {"regions": len(measures.closed), "open": len(measures.opened)}


@dataclass(frozen=True)
class LinkBlock:
    """Find which components of a block go on in the neighbours its low halo belongs to."""

    scratch: Scratch
    counts: Index3
    """Blocks along z, y and x."""

    def __call__(self, block: Block) -> Any:
        position = np.unravel_index(block.index, self.counts)
        found = [np.empty((0, 3), np.int64)]
        for step in LOW_NEIGHBOURS:
            there = tuple(int(p) + s for p, s in zip(position, step, strict=True))
            if min(there) < 0:
                continue
            index = int(np.ravel_multi_index(there, self.counts))
            axis = step.index(-1)
            low = self.scratch.plane(block.index, "low", axis)
            pairs = links(low, self.scratch.plane(index, "high", axis), step)
            found.append(np.insert(pairs, 1, index, axis=1))
        linked = np.concatenate(found)
        self.scratch.save_links(block.index, linked)
        return {"links": len(linked)}


@dataclass(frozen=True)
class NumberSlab:
    """Write one slab of the volume of region numbers; its blocks are labelled once more.

    That takes less time than to keep the labels of all blocks on disk. Returns the checksums of
    the slab's shards.
    """

    reader: LabelReader
    scratch: Scratch
    subject: Subject
    grid: Grid
    path: str

    def __call__(self, block: Block) -> Any:
        slab = block.write
        image = numbers_image(Path(self.path), self.subject.shape, self.scratch.regions())
        volume = open_volume(self.reader.volume)
        numbers = np.zeros(slab.shape, image.dtype)
        for position, core, shared in self.grid.touching(slab):
            index = int(np.ravel_multi_index(position, self.grid.counts))
            values = self.reader(volume, reading(self.grid[index]))
            labels, _ = label_block(labelled_part(values), self.subject.connectivity)
            inside = labels[1:-1, 1:-1, 1:-1][shared.within(core)]
            numbers[shared.within(slab)] = self.scratch.numbers(index)[inside]
        return {"shards": image.write(slab.start[0], numbers, halve_labels)}


def numbers_image(path: Location, shape: Index3, regions: int) -> Image:
    """The volume of region numbers, in the smallest type that holds them all."""
    dtype = np.min_scalar_type(regions)
    return Image(path, shape, dtype, default_codec(dtype))


def reading(block: Block) -> Block:
    """The block, reading what `measure_block` needs before it, as far as the volume goes."""
    z, y, x = (max(0, s - h) for s, h in zip(block.write.start, HALO, strict=True))
    return Block(block.index, block.write, Box((z, y, x), block.write.stop))


def _narrowed(path: Any, voxels: NDArray[Any], core: Box) -> NDArray[np.uint8]:
    """The same labels as uint8, which all labels of materials fit."""
    strange = (voxels < 0) | (voxels > 255)
    if strange.any():
        raise _unknown(str(path), int(voxels[strange][0]), int(strange.sum()), core)
    return voxels.astype(np.uint8)


def _unknown(path: str, label: int, count: int, core: Box) -> InputError:
    (z0, *_), (z1, *_) = core.start, core.stop
    fits = 0 < label < 256
    voxels = "1 voxel" if count == 1 else f"{count} voxels"
    remedy = "add it to the materials" if fits else "labels of materials are 1 to 255"
    return InputError(
        f"{path} has label {label} in {voxels} of slices {z0} to {z1 - 1}, but no material with "
        f"this label, so they would be missing from all tables; {remedy}"
    )
