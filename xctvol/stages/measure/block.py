"""Everything that is measured on one block: arrays in, integers out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Box, Index3
from xctvol.stages.measure.ambiguous import corrections
from xctvol.stages.measure.cells import (
    DIRECTIONS,
    INNER_EULER,
    add_cells,
    count_contacts,
    packed,
)
from xctvol.stages.measure.columns import (
    FIRST,
    GREY_SUM,
    VALUE,
    VOXELS,
    WIDTH,
    WIDTH_WITH_GREYS,
    Rows,
    empty_rows,
)
from xctvol.stages.measure.components import Planes, continuing
from xctvol.stages.measure.labelling import Connectivity, label_block
from xctvol.stages.measure.merge import census
from xctvol.stages.measure.perimeters import LINES, REACH, count_lines
from xctvol.stages.measure.runs import add_greys, add_voxels

__all__ = [
    "GREYS",
    "HALO",
    "PADDING",
    "BlockMeasures",
    "Subject",
    "around_core",
    "labelled_part",
    "measure_block",
]

HALO: Index3 = (1, 4, 4)
"""Voxels read on the low side of a block: one for components and cells, the others for perimeters.

On the high side nothing is read, as chunks there would be decoded twice: the pixels within REACH of
it are left to the next block.
"""

PADDING: Index3 = (1, REACH, REACH)
"""Zeros on the high side of a block's array: beyond the volume there are no materials."""

GREYS = INNER_EULER + 1
"""Column, in the sums of materials, of the sum of grey values."""

_LABELLED = (slice(None), slice(HALO[1] - 1, 1 - REACH), slice(HALO[2] - 1, 1 - REACH))


@dataclass(frozen=True)
class Subject:
    """What is measured, and on what: all that blocks of one volume have in common.

    Regions of fewer than `least` voxels are left out.
    """

    shape: Index3
    connectivity: Connectivity
    least: int = 1


@dataclass(frozen=True)
class BlockMeasures:
    """What a block adds to the tables of the volume; all integers.

    `closed` are rows of whole regions, by first voxel; `opened` of components that may go on in
    another block; `closed_labels` and `opened_labels` are their numbers in the block, out of
    `count`. `sets` and `gains` are as in `ambiguous`, of opened components from 1. By label value:
    `slices` (slices, 256, 1 + LINES) are voxels and border pixels, `contacts` as in `cells`,
    `materials` (256, 11) summed cells, inner Euler number, grey values, `census` as in `merge`.
    """

    count: int
    closed: Rows
    closed_labels: NDArray[np.int64]
    opened: Rows
    opened_labels: NDArray[np.int64]
    sets: NDArray[np.int64]
    gains: NDArray[np.int64]
    slices: NDArray[np.int64]
    contacts: NDArray[np.int64]
    materials: NDArray[np.int64]
    census: NDArray[np.int64]

    def of(self, labels: Sequence[int]) -> "BlockMeasures":
        """The same measures with what is by value for these label values only."""
        chosen = list(labels)
        return replace(
            self,
            slices=self.slices[:, chosen],
            contacts=self.contacts[np.ix_(chosen, chosen)],
            materials=self.materials[chosen],
            census=self.census[chosen],
        )


def around_core(core: Box) -> tuple[Index3, tuple[slice, slice, slice]]:
    """Shape of a block's array with HALO and PADDING, and where its core is in it."""
    sides = list(zip(core.shape, HALO, PADDING, strict=True))
    z, y, x = (n + low + high for n, low, high in sides)
    a, b, c = (slice(low, low + n) for n, low, _ in sides)
    return (z, y, x), (a, b, c)


def labelled_part(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The core with one voxel on each side, as `runs` and `cells` look at it; contiguous."""
    return np.ascontiguousarray(values[_LABELLED])


def measure_block(
    values: NDArray[np.uint8],
    greys: NDArray[np.integer] | None,
    core: Box,
    table: NDArray[np.int64],
    subject: Subject,
) -> tuple[BlockMeasures, Planes]:
    """Measure the voxels of `core`, a box of the volume.

    `values` is as in `around_core`, zero outside the volume, `greys` the core's grey values if they
    are measured, `table` the cell table. The measures of all blocks add up to the volume's. The
    planes hold numbers of opened components, from 1.
    """
    block = labelled_part(values)
    labels, count = label_block(block, subject.connectivity)
    border = _border(core, subject.shape)
    rows = empty_rows(count + 1, WIDTH if greys is None else WIDTH_WITH_GREYS)
    materials = np.zeros((256, GREYS + 1), np.int64)
    voxels = np.zeros((core.shape[0], 256), np.int64)
    add_voxels(block, labels, np.array(core.start), np.array(subject.shape), rows, voxels)
    if greys is not None:
        add_greys(block, labels, greys, rows)
        np.add.at(materials[:, GREYS], rows[:, VALUE], rows[:, GREY_SUM])
    present = _present(block, voxels)
    joined = subject.connectivity == 26
    add_cells(block, labels, border, present, packed(table), joined, rows, materials)
    planes = Planes.of(labels)
    opened = continuing(planes, border[1] == 0, count)
    sets, gains = np.empty((0, 0), np.uint32), np.empty((0, table.shape[1]), np.int64)
    if not joined:
        sets, gains = corrections(labels, block, opened, border[1], table)
    closed = ~opened
    closed[0] = False
    numbers = np.cumsum(opened)
    chosen, closed_rows = _chosen(rows, closed, subject.least)
    measures = BlockMeasures(
        count=count,
        closed=closed_rows,
        closed_labels=chosen,
        opened=rows[opened],
        opened_labels=np.flatnonzero(opened),
        sets=np.where(sets > 0, numbers[sets], 0),
        gains=gains,
        slices=_slices(values, core, border[1], voxels),
        contacts=_contacts(block, present),
        materials=materials,
        census=census(rows[closed], subject.shape, subject.least),
    )
    return measures, planes.renumbered(numbers.astype(np.uint32))


def _border(core: Box, shape: Index3) -> NDArray[np.int64]:
    """1 on the low and high sides, (2, 3), where the volume ends."""
    low, high = np.array(core.start) == 0, np.array(core.stop) == np.array(shape)
    return np.stack([low, high]).astype(np.int64)


def _present(block: NDArray[np.uint8], voxels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Label values in a block and its halo, without background."""
    seen = np.zeros(256, bool)
    seen[voxels.any(axis=0)] = True
    for plane in (block[0], block[:, 0], block[:, :, 0]):
        seen[plane] = True
    seen[0] = False
    return np.flatnonzero(seen).astype(np.uint8)


def _chosen(rows: Rows, closed: NDArray[np.bool_], least: int) -> tuple[NDArray[np.int64], Rows]:
    """Labels and rows of the closed regions that are large enough, by first voxel."""
    labels = np.flatnonzero(closed & (rows[:, VOXELS] >= least))
    labels = labels[np.argsort(rows[labels, FIRST])]
    return labels, rows[labels]


def _slices(
    values: NDArray[np.uint8], core: Box, ends: NDArray[np.int64], voxels: NDArray[np.int64]
) -> NDArray[np.int64]:
    depth, height, width = core.shape
    slices = np.empty((depth, 256, 1 + LINES), np.int64)
    slices[:, :, 0] = voxels
    last = REACH * ends  # the pixels near the high side, where no block follows
    slices[:, :, 1:] = count_lines(values[1:-1], height + last[1], width + last[2])
    return slices


def _contacts(block: NDArray[np.uint8], present: NDArray[np.uint8]) -> NDArray[np.int64]:
    contacts = np.zeros((256, 256, DIRECTIONS), np.int64)
    if len(present) > 1:
        count_contacts(block, contacts)
    return contacts
