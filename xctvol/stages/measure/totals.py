"""Adding up what the blocks found: the whole volume, still in integers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Block
from xctvol.stages.measure.block import GREYS, BlockMeasures, Subject
from xctvol.stages.measure.cells import DIRECTIONS
from xctvol.stages.measure.columns import CELLS, FIRST, VOXELS, Rows, empty_rows
from xctvol.stages.measure.merge import add_census, census, merge_rows, region_of
from xctvol.stages.measure.perimeters import LINES

__all__ = ["Totals", "total"]


@dataclass(frozen=True)
class Totals:
    """The volume's measures, of k materials in the order of their table.

    `slices` (z, k, 1 + LINES) holds voxels and border pixels, `contacts` (k, k, DIRECTIONS) those
    of two materials in either order, `materials` (k, 11) and `census` (k, 5) are as in
    `BlockMeasures`. `joined` are the rows of large enough regions that lie in several blocks, by
    first voxel; `members` says for each block which of these its opened components are, or -1.
    """

    slices: NDArray[np.int64]
    contacts: NDArray[np.int64]
    materials: NDArray[np.int64]
    census: NDArray[np.int64]
    joined: Rows
    members: tuple[NDArray[np.int64], ...]


def total(
    subject: Subject,
    labels: Sequence[int],
    blocks: Iterable[Block],
    load: Callable[[Block], tuple[BlockMeasures, NDArray[np.int64]]],
) -> Totals:
    """Sum the measures of all blocks, in the order of their indices.

    `labels` are the label values that the blocks kept. `load` gives a block's measures and its
    links to earlier blocks, (n, 3): number of its opened component, index of the other block,
    number there. Only opened components are held in memory all together.
    """
    k = len(labels)
    slices = np.zeros((subject.shape[0], k, 1 + LINES), np.int64)
    contacts = np.zeros((k, k, DIRECTIONS), np.int64)
    materials = np.zeros((k, GREYS + 1), np.int64)
    counted = np.zeros((k, 5), np.int64)
    rows, corrections, links, offsets = [], [], [], [0]
    for block in blocks:
        found, linked = load(block)
        offset, starts = offsets[-1], np.array(offsets)
        offsets.append(offset + len(found.opened))
        slices[block.write.start[0] : block.write.stop[0]] += found.slices
        contacts += found.contacts
        materials += found.materials
        counted = add_census(counted, found.census)
        rows.append(found.opened)
        corrections.append((np.where(found.sets > 0, found.sets + offset - 1, -1), found.gains))
        mine, other = linked[:, 0] + offset - 1, starts[linked[:, 1]] + linked[:, 2] - 1
        links.append(np.stack([mine, other], axis=1))
    joined, region = _joined(rows, np.concatenate(links), corrections)
    counted = add_census(counted, census(joined, subject.shape, subject.least)[list(labels)])
    kept, position = _kept(joined, subject.least)
    members = np.split(position[region], offsets[1:-1])
    contacts = contacts + contacts.swapaxes(0, 1)
    return Totals(slices, contacts, materials, counted, kept, tuple(members))


def _joined(
    rows: list[Rows],
    links: NDArray[np.int64],
    corrections: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[Rows, NDArray[np.int64]]:
    """Rows of regions from the opened components of all blocks, and the region of each."""
    region, count = region_of(sum(map(len, rows)), links)
    joined = empty_rows(count, rows[0].shape[1])
    start = 0
    for part in rows:
        merge_rows(part, region[start : start + len(part)], joined)
        start += len(part)
    for sets, gains in corrections:
        _correct(region, sets, gains, joined)
    return joined, region


def _correct(
    region: NDArray[np.int64], sets: NDArray[np.int64], gains: NDArray[np.int64], joined: Rows
) -> None:
    """Add each gain whose whole set has become one region; sets are filled with -1."""
    if len(sets) == 0:
        return
    owner = region[sets[:, -1]]
    whole = ((sets < 0) | (region[sets] == owner[:, None])).all(axis=1)
    np.add.at(joined[:, CELLS], owner[whole], gains[whole])


def _kept(joined: Rows, least: int) -> tuple[Rows, NDArray[np.int64]]:
    """Large enough regions by first voxel, and where each region has come to, or -1."""
    kept = np.flatnonzero(joined[:, VOXELS] >= least)
    kept = kept[np.argsort(joined[kept, FIRST])]
    position = np.full(len(joined), -1)
    position[kept] = np.arange(len(kept))
    return joined[kept], position
