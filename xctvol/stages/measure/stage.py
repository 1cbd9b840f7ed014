"""The plan of `measure`: which blocks, how much memory, what is written in the end."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xctvol.errors import InputError
from xctvol.grid import Block, Grid, Index3
from xctvol.journal import Journal, Recipe
from xctvol.labels import Labels
from xctvol.plan import Plan, Stage
from xctvol.stages.measure.components import Connectivity
from xctvol.stages.measure.definitions import DEFINITIONS
from xctvol.stages.measure.properties import (
    interface_columns,
    material_columns,
    region_columns,
    slice_columns,
)
from xctvol.stages.measure.tasks import (
    LinkBlock,
    MeasureBlock,
    load_links,
    load_measures,
    with_halo,
)
from xctvol.stages.measure.totals import total
from xctvol.tables import Contents, Tables, TablesProduct, write_tables

__all__ = ["BLOCK", "measure_plan"]

BLOCK: Index3 = (256, 256, 256)
"""Whole chunks of volumes that this package writes; small enough for 16 workers in 10 GB."""

_BYTES_PER_VOXEL = 16  # values, labels, the union-find behind them, tables of many small regions
_BYTES_AT_LEAST = 300_000_000  # the interpreter with numba and its compiled loops
_PLANE_BYTES = 8  # labels of the low and of the high plane of an axis
_SHAPED_BY = ("xctvol", "numpy", "scikit-image", "connected-components-3d")


def measure_plan(
    labels: Labels, output: Path, connectivity: Connectivity, block: Index3 = BLOCK
) -> Plan[Tables]:
    """Plan to measure `labels` in blocks of `block` voxels; the tables do not depend on it."""
    volume = labels.volume
    if volume.dtype.kind not in "ui":
        raise InputError(
            f"{volume.path} holds {volume.dtype} voxels; only labels, whole numbers, have regions"
        )
    grid = Grid(volume.shape, _clipped(block, volume.shape))
    blocks = tuple(with_halo(block, volume.shape) for block in grid)
    product = TablesProduct(output)
    progress = product.work / "x".join(map(str, grid.block))  # other blocks, other progress
    scratch = str(progress / "scratch")
    recipe = _recipe(labels, connectivity)
    measure = MeasureBlock(str(volume.path), scratch, labels.materials.labels, connectivity)
    link = LinkBlock(scratch, grid.counts)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(
            Stage("measure", measure, blocks, Journal(progress / "measured"), "blocks"),
            Stage("link", link, blocks, Journal(progress / "linked"), "blocks"),
        ),
        conclude=_Conclusion(labels, output, recipe, connectivity, blocks, scratch),
        peak_memory=_BYTES_AT_LEAST + _BYTES_PER_VOXEL * blocks[0].read.size,
        reads=sum(block.read.size for block in blocks) * volume.dtype.itemsize,
        writes=sum(_scratch_bytes(block) for block in blocks),
        notes=_notes(labels),
    )


@dataclass(frozen=True)
class _Conclusion:
    """Join the blocks and write the tables."""

    labels: Labels
    output: Path
    recipe: Recipe
    connectivity: Connectivity
    blocks: tuple[Block, ...]
    scratch: str

    def __call__(self) -> None:
        volume, materials = self.labels.volume, self.labels.materials
        shape, spacing = volume.shape, volume.spacing
        parts = (
            (block, load_measures(self.scratch, block), load_links(self.scratch, block))
            for block in self.blocks
        )
        totals = total(shape, materials.labels, self.connectivity, parts)
        write_tables(
            self.output,
            Contents(
                materials=material_columns(totals, shape, spacing, materials),
                slices=slice_columns(totals, spacing, materials),
                interfaces=interface_columns(totals, spacing, materials),
                regions=region_columns(totals.regions, shape, spacing, materials),
            ),
            self._record(),
            self.recipe,
        )

    def _record(self) -> dict[str, Any]:
        volume = self.labels.volume
        return {
            "labels": str(volume.path),
            "shape": list(volume.shape),
            "spacing_um": list(volume.spacing.zyx),
            "connectivity": self.connectivity,
            "definitions": DEFINITIONS,
            "versions": {name: version(name) for name in _SHAPED_BY},
        }


def _recipe(labels: Labels, connectivity: Connectivity) -> Recipe:
    return Recipe(
        "measure",
        inputs={
            "labels": labels.volume.digest,
            "spacing_um": list(labels.volume.spacing.zyx),
            "materials": labels.materials.to_json(),
        },
        options={"connectivity": connectivity},
    )


def _clipped(block: Index3, shape: Index3) -> Index3:
    z, y, x = (min(b, n) for b, n in zip(block, shape, strict=True))
    return (z, y, x)


def _scratch_bytes(block: Block) -> int:
    """Labels of six planes, and as much again for tables."""
    z, y, x = block.read.shape
    return 2 * _PLANE_BYTES * (y * x + z * x + z * y)


def _notes(labels: Labels) -> tuple[str, ...]:
    spacing = labels.volume.spacing
    if spacing.y == spacing.x:
        return ()
    return ("perimeters stay in pixels: they are defined only for equal y and x voxel sizes",)
