"""What follows when all blocks are measured: regions are joined, numbered and written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Block
from xctvol.materials import Materials
from xctvol.stages.measure.block import BlockMeasures, Subject
from xctvol.stages.measure.columns import FIRST, Rows
from xctvol.stages.measure.merge import REGIONS
from xctvol.stages.measure.numbering import in_batches, in_order, layers_of, numbers_of
from xctvol.stages.measure.properties import (
    Columns,
    interface_columns,
    material_columns,
    region_columns,
    slice_columns,
)
from xctvol.stages.measure.scratch import Scratch
from xctvol.stages.measure.totals import Totals, total
from xctvol.tables import write_regions, write_summaries
from xctvol.units import Spacing

__all__ = ["Joining"]

_BATCH = 1 << 15  # rows in memory, and in a row group: 10 MB, and a few times that on the way


@dataclass(frozen=True)
class Joining:
    """Write the tables from what the blocks left in `scratch`.

    Where they are `numbered`, as a volume of numbers needs, so are the labels of each block.
    """

    output: Path
    scratch: Scratch
    subject: Subject
    spacing: Spacing
    materials: Materials
    tissue: tuple[str, ...]
    blocks: tuple[Block, ...]
    numbered: bool

    def __call__(self) -> None:
        if self.scratch.is_joined():
            return
        totals = total(self.subject, self.materials.labels, self.blocks, self._load)
        shape, spacing, materials = self.subject.shape, self.spacing, self.materials
        write_summaries(
            self.output,
            materials=material_columns(totals, shape, spacing, materials, self.tissue),
            slices=slice_columns(totals, spacing, materials),
            interfaces=interface_columns(totals, spacing, materials),
        )
        count = int(totals.census[:, REGIONS].sum())
        write_regions(self.output, count, self._regions(totals))
        if self.numbered:
            self._number(totals, np.min_scalar_type(count))
        self.scratch.finish(count)

    def _load(self, block: Block) -> tuple[BlockMeasures, NDArray[np.int64]]:
        return self.scratch.measures(block.index), self.scratch.links(block.index)

    def _regions(self, totals: Totals) -> Iterator[Columns]:
        """Columns of all regions, batch by batch."""
        ordered = (rows for _, parts, _ in self._layers(totals) for rows in in_order(parts, _BATCH))
        number = 1
        for rows in in_batches(ordered, _BATCH, totals.joined.shape[1]):
            yield region_columns(rows, number, self.subject.shape, self.spacing, self.materials)
            number += len(rows)

    def _layers(self, totals: Totals) -> Iterator[tuple[list[Block], list[Rows], int]]:
        """Blocks of each layer, rows of the regions that begin there, and the first's index.

        Rows are those of closed regions, block by block, then those of joined ones; the index is
        that of the first joined one.
        """
        _, height, width = self.subject.shape
        start = 0
        for layer in layers_of(self.blocks):
            end = layer[0].write.stop[0] * height * width
            stop = int(np.searchsorted(totals.joined[:, FIRST], end))
            closed = [self.scratch.closed(block.index) for block in layer]
            yield layer, [*closed, totals.joined[start:stop]], start
            start = stop

    def _number(self, totals: Totals, dtype: np.dtype[np.unsignedinteger]) -> None:
        """Write for each block what regions its labels belong to."""
        numbers = np.zeros(len(totals.joined) + 1, dtype)  # the last is for regions left out
        number = 1
        for layer, parts, start in self._layers(totals):
            *closed, joined = numbers_of(parts, number)
            numbers[start : start + len(joined)] = joined
            number += sum(map(len, parts))
            for block, mine in zip(layer, closed, strict=True):
                found = self.scratch.measures(block.index)
                of_label = np.zeros(found.count + 1, dtype)
                of_label[found.closed_labels] = mine
                of_label[found.opened_labels] = numbers[totals.members[block.index]]
                self.scratch.save_numbers(block.index, of_label)
