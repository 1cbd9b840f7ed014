"""Label volumes in memory and on disk, and the volumes that are hard to measure in blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from xctvol.grid import Grid, Index3
from xctvol.labels import Labels, open_labels
from xctvol.materials import Materials
from xctvol.stages.measure.block import HALO, PADDING, Subject, measure_block
from xctvol.stages.measure.columns import Rows
from xctvol.stages.measure.components import LOW_NEIGHBOURS, links
from xctvol.stages.measure.numbering import in_order, layers_of
from xctvol.stages.measure.surface import cell_table
from xctvol.stages.measure.totals import Totals, total
from xctvol.units import Spacing
from xctvol.volume import Image, default_codec, halve_labels, image_label

ISOTROPIC = Spacing(1, 1, 1)
MATERIALS = Materials.numbered((1, 2, 3))
WHOLE = (256, 256, 256)


@dataclass(frozen=True)
class Measured:
    """A volume's totals, and the rows of all its regions in order."""

    totals: Totals
    rows: Rows


def _measure_in_memory(
    values: np.ndarray,
    connectivity: int,
    block: Index3,
    spacing: Spacing,
    greys: np.ndarray | None,
) -> Measured:
    """What the stage does, without files; labels 1..3 are materials."""
    shape, subject = values.shape, Subject(values.shape, connectivity)
    grid = Grid(shape, tuple(min(b, n) for b, n in zip(block, shape, strict=True)))
    around = np.pad(values, list(zip(HALO, PADDING, strict=True)))
    found = {}
    for b in grid:
        sizes = np.add(b.write.shape, HALO) + PADDING
        part = around[
            tuple(slice(s, s + n) for s, n in zip(b.write.start, sizes, strict=True))
        ].copy()
        _clear_beyond(part, b.write.shape)
        core = None if greys is None else greys[b.write.slices]
        found[b.index] = measure_block(part, core, b.write, cell_table(spacing), subject)
    totals = total(
        subject,
        MATERIALS.labels,
        grid,
        lambda b: (found[b.index][0].of(MATERIALS.labels), _links(b.index, grid, found)),
    )
    return Measured(totals, _ordered(totals, grid, found))


def _clear_beyond(part: np.ndarray, core: Index3) -> None:
    """A block knows nothing of what follows it."""
    for axis, (low, n) in enumerate(zip(HALO, core, strict=True)):
        np.moveaxis(part, axis, 0)[low + n :] = 0


def _ordered(totals: Totals, grid: Grid, found: dict) -> Rows:
    parts = [found[b.index][0].closed for layer in layers_of(grid) for b in layer]
    return np.concatenate(
        [np.empty((0, totals.joined.shape[1]), np.int64), *in_order([*parts, totals.joined], 5)]
    )


def _links(index: int, grid: Grid, found: dict) -> np.ndarray:
    rows = [np.empty((0, 3), np.int64)]
    for step in LOW_NEIGHBOURS:
        there = np.add(np.unravel_index(index, grid.counts), step)
        if min(there) >= 0:
            other = int(np.ravel_multi_index(there, grid.counts))
            axis = step.index(-1)
            pairs = links(found[index][1].low[axis], found[other][1].high[axis], step)
            rows.append(np.insert(pairs, 1, other, axis=1))
    return np.concatenate(rows)


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measured]:
    """Measures an array in memory, in `block`s; what several tests look at, it measures once."""
    known: dict[tuple, Measured] = {}

    def measure(
        values: np.ndarray,
        connectivity: int = 26,
        block: Index3 = WHOLE,
        spacing: Spacing = ISOTROPIC,
        greys: np.ndarray | None = None,
    ) -> Measured:
        content = None if greys is None else (greys.dtype, greys.tobytes())
        key = (values.shape, values.tobytes(), connectivity, block, spacing, content)
        if key not in known:
            known[key] = _measure_in_memory(values, connectivity, block, spacing, greys)
        return known[key]

    return measure


@pytest.fixture
def labels_of(tmp_path: Path) -> Callable[..., Labels]:
    """Writes an array as a label volume and opens it."""

    def write(
        values: np.ndarray,
        spacing: Spacing = ISOTROPIC,
        materials: Materials = MATERIALS,
        name: str = "labels.zarr",
    ) -> Labels:
        path = tmp_path / name
        image = Image(path, values.shape, values.dtype, default_codec(values.dtype))
        for slab in image.layout.slabs:
            image.write(slab.write.start[0], values[slab.write.slices].copy(), halve_labels)
        own = {"materials": materials.to_json()}
        image.finish(spacing, {"image-label": image_label(materials, None)}, own)
        return open_labels(path)

    return write


def _spiral(shape: Index3) -> np.ndarray:
    """One thin component that winds through every block."""
    values = np.zeros(shape, np.uint8)
    z = np.arange(shape[0])
    for turn in np.linspace(0, 1, 40):
        angle = 2 * np.pi * (z / shape[0] * 3 + turn * 0.1)
        y = np.rint((shape[1] - 1) * (0.5 + 0.45 * np.sin(angle))).astype(int)
        x = np.rint((shape[2] - 1) * (0.5 + 0.45 * np.cos(angle))).astype(int)
        values[z, y, x] = 1
    return values


def _adversarial() -> dict[str, np.ndarray]:
    shape = (9, 11, 12)
    random = np.random.default_rng(7)
    grid = np.indices(shape)
    radius = np.sqrt(sum((g - n / 2) ** 2 for g, n in zip(grid, shape, strict=True)))
    single = np.zeros(shape, np.uint8)
    single[0, 0, 0] = single[8, 10, 11] = single[4, 5, 6] = 2
    diagonal = np.zeros((11, 11, 11), np.uint8)
    diagonal[np.arange(11), np.arange(11), np.arange(11)] = 1
    diagonal[np.arange(11), np.arange(11), 10 - np.arange(11)] = 1
    edges = np.zeros((12, 12, 12), np.uint8)
    edges[np.arange(12), np.arange(12)[::-1], 5] = 3
    edges[5, np.arange(12), np.arange(12)] = 1
    one_slice = random.integers(0, 4, (1, 13, 17)).astype(np.uint8)
    return {
        "empty": np.zeros(shape, np.uint8),
        "full": np.ones(shape, np.uint8),
        "checkerboard": (grid.sum(axis=0) % 2).astype(np.uint8),
        "checkerboard of two materials": (grid.sum(axis=0) % 2 + 1).astype(np.uint8),
        "spiral": _spiral((16, 14, 18)),
        "diagonals": diagonal,
        "edge chains": edges,
        "nested shells": (radius.astype(int) % 4).astype(np.uint8),
        "single voxels": single,
        "salt noise": np.where(random.random(shape) < 0.02, 1, 2).astype(np.uint8),
        "percolating noise": (random.random(shape) < 0.31).astype(np.uint8),
        "dense noise": random.integers(0, 4, shape).astype(np.uint8),
        "one slice": one_slice,
        "two half spaces": np.repeat(np.uint8([1, 2]), 8)[:, None, None]
        * np.ones((1, 9, 9), np.uint8),
    }


ADVERSARIAL = _adversarial()


@pytest.fixture(params=list(ADVERSARIAL), ids=str)
def adversarial(request: pytest.FixtureRequest) -> np.ndarray:
    return ADVERSARIAL[request.param]
