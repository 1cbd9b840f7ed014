"""Adding up what the blocks found: the whole volume, still in integers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Block, Index3
from xctvol.stages.measure.block import BlockMeasures
from xctvol.stages.measure.components import Connectivity
from xctvol.stages.measure.merge import Components, Regions, join
from xctvol.stages.measure.sums import CELLS

__all__ = ["Totals", "total"]


@dataclass(frozen=True)
class Totals:
    """The volume's measures, of k materials in the order of their table.

    `slices` (z, k, 4) holds voxels and border pixels, `faces` (k, k, 3) the faces between two
    materials in either order, `cells` (k, 9) summed cells.
    """

    regions: Regions
    slices: NDArray[np.int64]
    faces: NDArray[np.int64]
    cells: NDArray[np.int64]


def total(
    shape: Index3,
    labels: Sequence[int],
    connectivity: Connectivity,
    parts: Iterable[tuple[Block, BlockMeasures, NDArray[np.int64]]],
) -> Totals:
    """Sum the measures of all blocks, in the order of their indices.

    `labels` are the label values whose slices, faces and cells the blocks kept.
    The third of each part are its links to earlier blocks, (n, 3): its label, the index of the
    other block, the label there.
    """
    count = len(labels)
    slices = np.zeros((shape[0], count, 4), np.int64)
    faces = np.zeros((count, count, 3), np.int64)
    cells = np.zeros((count, 9), np.int64)
    components, corrections, links = [], [], []
    offsets = [0]
    for block, measures, linked in parts:
        offset, rows = offsets[-1], np.array(offsets)
        offsets.append(offset + len(measures.first))
        slices[block.write.start[0] : block.write.stop[0]] += measures.slices
        faces += measures.faces
        cells += measures.cells
        components.append(
            Components(measures.values, measures.sums, measures.boxes, measures.first)
        )
        sets = measures.sets.astype(np.int64)
        corrections.append((np.where(sets > 0, sets + offset - 1, -1), measures.gains))
        mine, other = linked[:, 0] + offset - 1, rows[linked[:, 1]] + linked[:, 2] - 1
        links.append(np.stack([mine, other], axis=1))
    regions = join(_concatenated(components), np.concatenate(links), corrections)
    if connectivity == 26:  # a cell's voxels of one material are one region: regions add up
        by_value = np.zeros((256, 9), np.int64)
        np.add.at(by_value, regions.values, regions.sums[:, CELLS])
        cells = by_value[list(labels)]
    return Totals(regions, slices, faces + faces.swapaxes(0, 1), cells)


def _concatenated(parts: list[Components]) -> Components:
    return Components(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.sums for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.first for part in parts]),
    )
