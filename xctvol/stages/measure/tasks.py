"""What workers do: measure a block, then link it to its neighbours. Results go to files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import staged
from xctvol.grid import Block, Box, Index3
from xctvol.materials import UNLABELLED
from xctvol.stages.measure.block import (
    HALO_HIGH,
    HALO_LOW,
    BlockMeasures,
    load_planes,
    measure_block,
)
from xctvol.stages.measure.components import LOW_NEIGHBOURS, Connectivity, links
from xctvol.stages.measure.surface import cell_table
from xctvol.volume import Volume, open_volume

__all__ = ["LinkBlock", "MeasureBlock", "load_links", "load_measures", "with_halo"]


@dataclass(frozen=True)
class MeasureBlock:
    """Measure a block of the label volume `volume` and keep the measures in `scratch`."""

    volume: str
    scratch: str
    labels: tuple[int, ...]
    connectivity: Connectivity

    def __call__(self, block: Block) -> Any:
        volume = open_volume(self.volume)
        values = read_values(volume, block)
        table = cell_table(volume.spacing)
        measures, planes = measure_block(
            values, block.write, volume.shape, self.connectivity, table
        )
        self._refuse_unknown(measures, block.write)
        measures.of(self.labels).save(_measures_file(self.scratch, block.index), planes)
        return {"components": len(measures.first)}

    def _refuse_unknown(self, measures: BlockMeasures, core: Box) -> None:
        voxels = measures.slices[:, :, 0].sum(axis=0)
        voxels[[UNLABELLED, *self.labels]] = 0
        if voxels.any():
            label = int(voxels.argmax())
            raise _unknown(self.volume, label, int(voxels[label]), core)


@dataclass(frozen=True)
class LinkBlock:
    """Find which components of a block go on in the neighbours its low halo belongs to."""

    scratch: str
    counts: Index3
    """Blocks along z, y and x."""

    def __call__(self, block: Block) -> Any:
        mine = load_planes(_measures_file(self.scratch, block.index))
        position = np.unravel_index(block.index, self.counts)
        found = [np.empty((0, 3), np.int64)]
        for step in LOW_NEIGHBOURS:
            there = tuple(int(p) + s for p, s in zip(position, step, strict=True))
            if min(there) < 0:
                continue
            index = int(np.ravel_multi_index(there, self.counts))
            pairs = links(mine, load_planes(_measures_file(self.scratch, index)), step)
            other = np.full(len(pairs), index)
            found.append(np.stack([pairs[:, 0], other, pairs[:, 1]], axis=1))
        linked = np.concatenate(found)
        with staged(_links_file(self.scratch, block.index)) as partial, open(partial, "wb") as file:
            np.save(file, linked)
        return {"links": len(linked)}


def with_halo(block: Block, shape: Index3) -> Block:
    """The block, reading what `measure_block` needs around it, as far as the volume goes."""
    start = tuple(max(0, s - h) for s, h in zip(block.write.start, HALO_LOW, strict=True))
    stop = tuple(min(n, s + h) for n, s, h in zip(shape, block.write.stop, HALO_HIGH, strict=True))
    read = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return Block(block.index, block.write, read)


def read_values(volume: Volume, block: Block) -> NDArray[np.uint8]:
    """The block's voxels with their whole halo, zeros outside the volume."""
    core, read = block.write, block.read
    voxels = volume.read(read)
    if voxels.dtype != np.uint8:
        voxels = _narrowed(volume.path, voxels, core)
    low = [h - (c - r) for h, c, r in zip(HALO_LOW, core.start, read.start, strict=True)]
    high = [h - (r - c) for h, c, r in zip(HALO_HIGH, core.stop, read.stop, strict=True)]
    return np.pad(voxels, list(zip(low, high, strict=True)))


def load_measures(scratch: str, block: Block) -> BlockMeasures:
    return BlockMeasures.load(_measures_file(scratch, block.index))


def load_links(scratch: str, block: Block) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.load(_links_file(scratch, block.index))
    return found


def _measures_file(scratch: str, index: int) -> Path:
    return Path(scratch) / f"measures-{index:06d}.npz"


def _links_file(scratch: str, index: int) -> Path:
    return Path(scratch) / f"links-{index:06d}.npy"


def _narrowed(path: Path, voxels: NDArray[Any], core: Box) -> NDArray[np.uint8]:
    """The same labels as uint8, which all labels of materials fit."""
    strange = (voxels < 0) | (voxels > 255)
    if strange.any():
        raise _unknown(str(path), int(voxels[strange][0]), int(strange.sum()), core)
    return voxels.astype(np.uint8)


def _unknown(path: str, label: int, count: int, core: Box) -> InputError:
    (z0, *_), (z1, *_) = core.start, core.stop
    return InputError(
        f"{path} has label {label} in {count} voxels of slices {z0} to {z1 - 1}, but no material "
        "with this label, so they would be missing from all tables; add it to the materials"
    )
