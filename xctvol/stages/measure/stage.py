"""The plan of `measure`: which blocks, how much memory, what is written in the end."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xctvol.errors import InputError, PlanError
from xctvol.grid import Block, Grid, Index3
from xctvol.journal import Journal, Recipe
from xctvol.labels import Labels
from xctvol.plan import Plan, Stage
from xctvol.stages.measure.block import Subject
from xctvol.stages.measure.blocking import bytes_decoded, bytes_of_planes, choose_block
from xctvol.stages.measure.definitions import DEFINITIONS
from xctvol.stages.measure.joining import Joining
from xctvol.stages.measure.options import Options
from xctvol.stages.measure.scratch import Scratch
from xctvol.stages.measure.tasks import (
    LabelReader,
    LinkBlock,
    MeasureBlock,
    NumberSlab,
    numbers_image,
    reading,
)
from xctvol.tables import Tables, TablesProduct
from xctvol.volume import (
    Checksums,
    Volume,
    bytes_in_transit,
    layout_of,
    read_attributes,
    reading_bytes,
)

__all__ = ["measure_plan"]

_FORMAT = 2  # of the tables; raise it when the same labels come to give others
_BYTES_PER_VOXEL = 12  # values twice, labels, the union-find behind them, rows of small regions
_BYTES_AT_LEAST = 350_000_000  # the interpreter with numba, pandas and the compiled loops
_BYTES_PER_REGION = 450  # a row in scratch, and in two tables
_VOXELS_PER_REGION = 1000  # a guess: how many regions there are is not known before
_NUMBER_BYTES = 4
_SLAB_COPIES = 3  # of the numbers: the slab, and what halving it for the pyramid takes
_SHAPED_BY = ("xctvol", "numpy", "scikit-image")


def measure_plan(
    labels: Labels, output: Path, options: Options, block: Index3 | None = None
) -> Plan[Tables]:
    """Plan to measure `labels`, in blocks of `block` voxels; the tables do not depend on it."""
    volume, materials = labels.volume, options.measured(labels.materials)
    tissue = options.compared(materials)
    _refuse_unfit(labels, options.intensity)
    product = TablesProduct(output, _file_of(options))
    _refuse_foreign(product)
    grid = _grid(volume, block)
    blocks = tuple(reading(block) for block in grid)
    progress = product.work / "x".join(map(str, grid.block))  # other blocks, other progress
    scratch = Scratch(str(progress / "scratch"))
    subject = Subject(volume.shape, options.connectivity, options.least_voxels(volume.spacing))
    others = {*labels.materials.labels} - {*materials.labels}
    reader = LabelReader(str(volume.path), materials.labels, tuple(sorted(others)))
    scan = None if options.intensity is None else str(options.intensity.path)
    measure, link = MeasureBlock(reader, scan, scratch, subject), LinkBlock(scratch, grid.counts)
    numbered = Journal(progress / "numbered")
    with_numbers = product.instances is not None
    joining = Joining(
        output, scratch, subject, volume.spacing, materials, tissue, blocks, with_numbers
    )
    stages = [
        Stage("measure", measure, blocks, Journal(progress / "measured"), "blocks"),
        Stage("link", link, blocks, Journal(progress / "linked"), "blocks", joining),
    ]
    if product.instances is not None:
        number = NumberSlab(reader, scratch, subject, grid, str(output / product.instances))
        slabs = layout_of(volume.shape).slabs
        stages.append(Stage("number", number, slabs, numbered, "blocks"))
    recipe = _recipe(labels, options)
    return Plan(
        recipe=recipe,
        product=product,
        stages=tuple(stages),
        conclude=_Conclusion(labels, product, options, tissue, scratch, numbered, recipe),
        peak_memory=_peak_memory(volume, options, blocks),
        reads=_reads(volume, options, blocks),
        writes=_writes(volume, options, blocks),
        notes=_notes(labels, blocks),
    )


@dataclass(frozen=True)
class _Conclusion:
    """Finish the volume of numbers, if there is one, and mark the tables as finished."""

    labels: Labels
    product: TablesProduct
    options: Options
    tissue: tuple[str, ...]
    scratch: Scratch
    numbered: Journal
    recipe: Recipe

    def __call__(self) -> None:
        volume = self.labels.volume
        if self.product.instances is not None:
            path = self.product.path / self.product.instances
            image = numbers_image(path, volume.shape, self.scratch.regions())
            own = {"instances": str(volume.path), "recipe": self.recipe.to_json()}
            slabs = self.numbered.all_results(len(image.layout.slabs))
            checksums = Checksums.joined((slab["shards"], ()) for slab in slabs)
            image.finish(volume.spacing, {"image-label": {}}, own, checksums)
        self.product.finish(self._record(), self.recipe)

    def _record(self) -> dict[str, Any]:
        volume = self.labels.volume
        return {
            "labels": str(volume.path),
            "shape": list(volume.shape),
            "spacing_um": list(volume.spacing.zyx),
            "connectivity": self.options.connectivity,
            "min_volume_um3": self.options.min_volume_um3,
            "tissue": list(self.tissue),
            "instances": self.product.instances,
            "definitions": DEFINITIONS,
            "versions": {name: version(name) for name in _SHAPED_BY},
        }


def _recipe(labels: Labels, options: Options) -> Recipe:
    return Recipe(
        "measure",
        inputs={
            "labels": labels.volume.digest,
            "spacing_um": list(labels.volume.spacing.zyx),
            "materials": labels.materials.to_json(),
        },
        options=options.to_json(),
        format=_FORMAT,
    )


def _grid(volume: Volume, block: Index3 | None) -> Grid:
    chosen = block or choose_block(volume.shape, volume.levels[0].chunk)
    z, y, x = (min(b, n) for b, n in zip(chosen, volume.shape, strict=True))
    return Grid(volume.shape, (z, y, x))


def _file_of(options: Options) -> str | None:
    return None if options.instances is None else f"{options.instances}.zarr"


def _peak_memory(volume: Volume, options: Options, blocks: tuple[Block, ...]) -> int:
    per_voxel = _BYTES_PER_VOXEL + _grey_bytes(options)
    if volume.dtype.itemsize > 1:
        per_voxel += 2 * volume.dtype.itemsize  # until the labels are narrow
    need = _BYTES_AT_LEAST + per_voxel * max(block.read.size for block in blocks)
    if options.instances is not None:
        slab = layout_of(volume.shape).slabs[0].write.size
        need += _SLAB_COPIES * _NUMBER_BYTES * slab
    return need + _bytes_in_transit(volume, options, blocks)


def _bytes_in_transit(volume: Volume, options: Options, blocks: tuple[Block, ...]) -> int:
    """The labels of a block, or the grey values, as they come from a bucket or a library."""
    read = [volume] if options.intensity is None else [volume, options.intensity]
    largest = max(block.read.size for block in blocks)
    boxes = [block.read for block in blocks]
    return max(
        bytes_in_transit(each.path, largest * each.dtype.itemsize)
        + reading_bytes(each.levels[0], boxes)
        for each in read
    )


def _reads(volume: Volume, options: Options, blocks: tuple[Block, ...]) -> int:
    chunk, shape = volume.levels[0].chunk, volume.shape
    labels = bytes_decoded(blocks, shape, chunk, volume.dtype.itemsize)
    if options.instances is not None:
        labels *= 2
    if options.intensity is None:
        return labels
    cores = [Block(block.index, block.write, block.write) for block in blocks]
    return labels + bytes_decoded(
        cores, shape, options.intensity.levels[0].chunk, options.intensity.dtype.itemsize
    )


def _writes(volume: Volume, options: Options, blocks: tuple[Block, ...]) -> int:
    voxels = sum(block.write.size for block in blocks)
    need = sum(map(bytes_of_planes, blocks)) + _BYTES_PER_REGION * voxels // _VOXELS_PER_REGION
    if options.instances is not None:
        need += numbers_image(volume.path, volume.shape, 1 << 31).nbytes
    return need


def _grey_bytes(options: Options) -> int:
    return 0 if options.intensity is None else options.intensity.dtype.itemsize


def _refuse_unfit(labels: Labels, intensity: Volume | None) -> None:
    """Raise InputError for voxels that cannot be measured."""
    volume = labels.volume
    if volume.dtype.kind not in "ui":
        raise InputError(
            f"{volume.path} holds {volume.dtype} voxels; only labels, whole numbers, have regions"
        )
    if intensity is None:
        return
    if intensity.shape != volume.shape:
        raise InputError(
            f"{intensity.path} has {intensity.shape} voxels (z, y, x), but the labels have "
            f"{volume.shape}: grey values are measured where both have the same voxels"
        )
    if intensity.dtype.kind not in "ui" or intensity.dtype.itemsize > 2:
        raise InputError(
            f"{intensity.path} holds {intensity.dtype}; grey values are summed exactly, which "
            "takes whole numbers of 8 or 16 bits: convert the scan with --window"
        )


def _refuse_foreign(product: TablesProduct) -> None:
    """Raise PlanError where the volume of numbers would replace something else."""
    if product.instances is None or not (product.path / product.instances).exists():
        return
    path = product.path / product.instances
    if not product.work.is_dir() and "instances" not in read_attributes(path)[1]:
        raise PlanError(f"{path} exists and holds no region numbers; choose another name")


def _notes(labels: Labels, blocks: tuple[Block, ...]) -> tuple[str, ...]:
    volume = labels.volume
    shape = " x ".join(map(str, blocks[0].write.shape))
    ratio = bytes_decoded(blocks, volume.shape, volume.levels[0].chunk, 1) / sum(
        block.write.size for block in blocks
    )
    notes = [f"blocks of {shape} voxels (z, y, x), which read {ratio:.2f} times the volume"]
    notes.append("joining them takes about 450 bytes more for each region that lies in several")
    if volume.spacing.y != volume.spacing.x:
        notes.append("perimeters stay in pixels: voxels are not square in y and x")
    return tuple(notes)
