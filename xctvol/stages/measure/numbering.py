"""Regions in the order of their numbers, while few of them are in memory.

Blocks lie in layers along z. A region's first voxel is in the layer where the region begins, so
layer after layer gives all regions in raster order; within a layer the rows of its blocks, each
sorted, are merged with those of the joined regions that begin there.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Block
from xctvol.stages.measure.columns import FIRST, Rows

__all__ = ["in_batches", "in_order", "layers_of", "numbers_of"]


def layers_of(blocks: Iterable[Block]) -> list[list[Block]]:
    """Blocks by where they begin along z."""
    return [list(layer) for _, layer in groupby(blocks, lambda block: block.write.start[0])]


def in_order(parts: Sequence[Rows], size: int) -> Iterator[Rows]:
    """Rows of all `parts`, each sorted, by first voxel, at most `size` at a time."""
    owner, index, order = _ranked(parts)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        rows = np.empty((len(chosen), parts[0].shape[1]), np.int64)
        for part in np.unique(owner[chosen]):
            mine = owner[chosen] == part
            rows[mine] = parts[part][index[chosen[mine]]]
        yield rows


def numbers_of(parts: Sequence[Rows], start: int) -> list[NDArray[np.int64]]:
    """For each part the places of its rows in `in_order`, counted from `start`."""
    owner, _, order = _ranked(parts)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(start, start + len(order))
    return [place[owner == part] for part in range(len(parts))]


def in_batches(chunks: Iterable[Rows], size: int, width: int) -> Iterator[Rows]:
    """The same rows, `size` at a time: what is written does not depend on how they come.

    At least one batch, which may be empty.
    """
    held = [np.empty((0, width), np.int64)]
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk)
        while count >= size:
            rows = np.concatenate(held)
            yield rows[:size]
            held, count = [rows[size:]], count - size
    yield np.concatenate(held)


def _ranked(
    parts: Sequence[Rows],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Part and index of each row, and the rows' order by first voxel."""
    lengths = [len(part) for part in parts]
    owner = np.repeat(np.arange(len(parts)), lengths)
    index = np.concatenate([np.arange(n) for n in lengths])
    first = np.concatenate([np.asarray(part[:, FIRST]) for part in parts])
    return owner, index, np.argsort(first)
