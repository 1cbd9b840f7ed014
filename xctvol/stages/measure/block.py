"""Everything that is measured on one block: arrays in, integers out."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xctvol.files import staged
from xctvol.grid import Box, Index3
from xctvol.stages.measure.ambiguous import corrections
from xctvol.stages.measure.components import Connectivity, Planes, label_block, open_labels
from xctvol.stages.measure.profile import count_faces, count_slices
from xctvol.stages.measure.sums import CELLS, COLUMNS, VoxelSums, add_cells, add_voxels

__all__ = ["HALO_HIGH", "HALO_LOW", "BlockMeasures", "load_planes", "measure_block"]

HALO_LOW = (1, 2, 2)
HALO_HIGH = (0, 2, 2)
"""Voxels a block needs around its own: components one, border pixels and their neighbours two."""


@dataclass(frozen=True)
class BlockMeasures:
    """What a block adds to the tables of the volume; all integers.

    Components (n rows, label i + 1 in row i) are as in `VoxelSums`, `values` their label values.
    `sets` and `gains` are as in `ambiguous`, `slices` (slices, 256, 4) and `faces` (256, 256, 3)
    as in `profile`. `cells` (256, 9) are the summed cells of whole materials, where components
    do not add up to them: zeros with 26-connectivity. Of the 256 label values, `of` keeps some.
    """

    values: NDArray[np.uint8]
    sums: NDArray[np.int64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]
    sets: NDArray[np.uint32]
    gains: NDArray[np.int64]
    slices: NDArray[np.int64]
    faces: NDArray[np.int64]
    cells: NDArray[np.int64]

    def of(self, labels: Sequence[int]) -> "BlockMeasures":
        """The same measures with slices, faces and cells of these label values only."""
        chosen = list(labels)
        return replace(
            self,
            slices=self.slices[:, chosen],
            faces=self.faces[np.ix_(chosen, chosen)],
            cells=self.cells[chosen],
        )

    def save(self, path: Path, planes: Planes) -> None:
        """Write these measures and the block's border as one file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        for axis in range(3):
            arrays[f"low_{axis}"], arrays[f"high_{axis}"] = planes.low[axis], planes.high[axis]
        with staged(path) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> "BlockMeasures":
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def load_planes(path: Path) -> Planes:
    """The border of a block from the file that `BlockMeasures.save` wrote."""
    with np.load(path) as arrays:
        low, high = ([arrays[f"{side}_{axis}"] for axis in range(3)] for side in ("low", "high"))
    return Planes((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def measure_block(
    values: NDArray[np.uint8],
    core: Box,
    shape: Index3,
    connectivity: Connectivity,
    table: NDArray[np.int64],
) -> tuple[BlockMeasures, Planes]:
    """Measure the voxels of `core`, a box of the volume of `shape`.

    `values` holds them with HALO_LOW and HALO_HIGH, zeros outside the volume; `table` is the
    cell table. The measures of all blocks add up to those of the volume.
    """
    labels, count = label_block(values, connectivity)
    has_next = tuple(int(stop < n) for stop, n in zip(core.stop, shape, strict=True))
    ends = 1 - np.array(has_next)
    found = VoxelSums.empty(count)
    add_voxels(labels, np.array(core.start), np.array(shape), *found)
    add_cells(labels, ends, table, found.sums)
    planes = Planes.of(labels)
    sets = np.empty((0, 4), np.uint32)
    gains = np.zeros((0, table.shape[1]), np.int64)
    cells = np.zeros((256, table.shape[1]), np.int64)
    if connectivity != 26:  # with 26 a cell's voxels of one material are one component
        block = np.pad(values[:, 1:-2, 1:-2], (0, 1))
        is_open = open_labels(planes, (has_next[0], has_next[1], has_next[2]), count)
        sets, gains = corrections(labels, block, is_open, ends, table)
        cells = _material_cells(block, ends, table)
    measures = BlockMeasures(
        values=_values_at(found.first, values, core, shape)[1:],
        sums=found.sums[1:],
        boxes=found.boxes[1:],
        first=found.first[1:],
        sets=sets,
        gains=gains,
        slices=count_slices(values),
        faces=count_faces(values),
        cells=cells,
    )
    return measures, planes


def _material_cells(
    block: NDArray[np.uint8], ends: NDArray[np.int64], table: NDArray[np.int64]
) -> NDArray[np.int64]:
    sums = np.zeros((256, COLUMNS), np.int64)
    add_cells(block.astype(np.uint32), ends, table, sums)
    return sums[:, CELLS]


def _values_at(
    first: NDArray[np.int64], values: NDArray[np.uint8], core: Box, shape: Index3
) -> NDArray[np.uint8]:
    """Label value at each component's first voxel; 0 where it has none in the core."""
    inside = first >= 0
    at = np.unravel_index(first[inside], shape)
    index = tuple(p - s + h for p, s, h in zip(at, core.start, HALO_LOW, strict=True))
    found = np.zeros(len(first), np.uint8)
    found[inside] = values[index]
    return found
