"""convert: the slices of a scan become a volume: sharded, multiscale, with its voxel size.

Slab by slab, each one read once: window, shards of all levels, journal. One range of grey values
serves the whole scan; where it is given in percentiles, a first stage counts grey values.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.files import read_json, staged, write_json
from xctvol.grid import Block, Box
from xctvol.journal import Journal, Recipe
from xctvol.labels import ByMaterials, Keep, LabelRule, Labels, NonZero, open_labels, values_of
from xctvol.materials import UNLABELLED, Materials
from xctvol.plan import Plan, Stage
from xctvol.sources import Source
from xctvol.units import Spacing
from xctvol.volume import (
    SLAB,
    Codec,
    CodecName,
    Histogram,
    Image,
    ImageProduct,
    Percentiles,
    Volume,
    Window,
    default_codec,
    halve_grey,
    halve_labels,
    image_label,
    open_volume,
    parse_window,
)

__all__ = ["convert", "convert_labels"]

_PROCESS_BYTES = 200_000_000  # interpreter and libraries


def convert(
    source: Source,
    path: str | Path,
    *,
    window: Window | Percentiles | str | None = None,
    codec: CodecName | None = None,
) -> Plan[Volume]:
    """Plan to convert a scan to an OME-Zarr volume at `path`.

    With a `window` voxels are stored as uint8, 0..255 standing for its range of original grey
    values, which is recorded; it may be text as on the command line ("0.1%,99.9%"). Without one
    they keep their type. Raises InputError where the
    voxel size is unknown.
    """
    spacing = _spacing_of(source)
    window = parse_window(window) if isinstance(window, str) else window
    dtype = source.dtype if window is None else np.dtype(np.uint8)
    image = Image(Path(path), source.shape, dtype, Codec(codec) if codec else default_codec(dtype))
    product = ImageProduct(image.path, open_volume)
    options = {"window": str(window or "none"), "codec": image.codec.name}
    recipe = _recipe("convert", source, spacing, options)
    journal = Journal(product.work / "slabs")
    counting, chosen = _window_stage(source, window, product.work, image)
    slabs = Stage("convert", _ConvertSlab(source, image, chosen), image.layout.slabs, journal)

    def conclude() -> None:
        found = _resolve(chosen)
        own = {
            "recipe": recipe.to_json(),
            "window": found.to_json() if found else None,
            "source_dtype": source.dtype.name,
            "spacing_origin": source.spacing_origin,
            "source": list(source.summary()),
        }
        image.finish(spacing, {}, own)

    passes = 1 + len(counting)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(*counting, slabs),
        conclude=conclude,
        peak_memory=_peak_memory(source, image),
        reads=passes * _nbytes(source),
        writes=image.nbytes,
        notes=source.summary(),
    )


def convert_labels(
    source: Source,
    path: str | Path,
    *,
    materials: Materials | None = None,
    nonzero: str | None = None,
) -> Plan[Labels]:
    """Plan to convert a stack of label values to a label volume at `path`.

    With `materials`, their mask values become their labels, and any other value is refused. With
    `nonzero`, every voxel that is not zero belongs to the one material of that name. Without
    either, values stay as they are (up to 32 bits) and get numbers for names.
    """
    spacing = _spacing_of(source)
    if source.dtype.kind not in "ui":
        raise InputError(f"the source holds {source.dtype}; labels are whole numbers")
    rule = _label_rule(source, materials, nonzero)
    image = Image(Path(path), source.shape, rule.dtype, Codec("zstd"))
    product = ImageProduct(image.path, open_labels)
    recipe = _recipe("convert --labels", source, spacing, {"labels": rule.to_json()})
    journal = Journal(product.work / "slabs")

    def conclude() -> None:
        found = {value for values in journal.results().values() for value in values}
        named = rule.materials(sorted(found - {UNLABELLED}))
        own = {
            "recipe": recipe.to_json(),
            "materials": named.to_json(),
            "spacing_origin": source.spacing_origin,
            "source": list(source.summary()),
        }
        image.finish(spacing, {"image-label": image_label(named, None)}, own)

    task = _ConvertLabels(source, image, rule)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("convert", task, image.layout.slabs, journal),),
        conclude=conclude,
        peak_memory=_peak_memory(source, image),
        reads=_nbytes(source),
        writes=image.nbytes,
        notes=source.summary(),
    )


@dataclass(frozen=True)
class _CountGrey:
    """Counts the grey values of a slab; the counts go to a file, they are too many to return."""

    source: Source
    folder: Path

    def __call__(self, block: Block) -> Any:
        histogram = Histogram.of(_read(self.source, block.write))
        with staged(_counts_file(self.folder, block.index)) as partial, open(partial, "wb") as file:
            np.save(file, histogram.counts)
        return int(histogram.counts.sum())


@dataclass(frozen=True)
class _ConvertSlab:
    """Reads, windows and writes one slab; `window` may be a file that an earlier stage wrote."""

    source: Source
    image: Image
    window: Window | Path | None

    def __call__(self, block: Block) -> Any:
        slab = _read(self.source, block.write)
        window = _resolve(self.window)
        if window is not None:
            stored = np.empty(slab.shape, np.uint8)
            window.to_uint8(slab, stored)
            slab = stored
        self.image.write(block.write.start[0], slab, halve_grey)
        return None


@dataclass(frozen=True)
class _ConvertLabels:
    """Reads, translates and writes one slab of labels; returns the label values in it."""

    source: Source
    image: Image
    rule: LabelRule

    def __call__(self, block: Block) -> Any:
        slab = _read(self.source, block.write)
        try:
            labels = self.rule(slab)
        except InputError as error:
            first, last = block.write.start[0], block.write.stop[0] - 1
            raise InputError(f"slices {first} to {last}: {error}") from None
        self.image.write(block.write.start[0], labels, halve_labels)
        return values_of(labels).tolist()


def _window_stage(
    source: Source, window: Window | Percentiles | None, work: Path, image: Image
) -> tuple[tuple[Stage, ...], Window | Path | None]:
    """The stage that finds a window given in percentiles, and where the window will stand."""
    if not isinstance(window, Percentiles):
        return (), window
    folder, found = work / "histogram", work / "window.json"

    def conclude() -> None:
        counts = [np.load(_counts_file(folder, block.index)) for block in image.layout.slabs]
        histogram = Histogram(source.dtype, np.sum(counts, axis=0))
        write_json(found, histogram.window(window).to_json())

    task = _CountGrey(source, folder)
    return (
        Stage("histogram", task, image.layout.slabs, Journal(folder), "slices", conclude),
    ), found


def _label_rule(source: Source, materials: Materials | None, nonzero: str | None) -> LabelRule:
    if materials is not None and nonzero is not None:
        raise UsageError("labels are given by materials or by being non-zero, not by both")
    if materials is not None:
        return ByMaterials(materials)
    return Keep(source.dtype) if nonzero is None else NonZero(nonzero)


def _resolve(window: Window | Path | None) -> Window | None:
    return Window.from_json(read_json(window)) if isinstance(window, Path) else window


def _counts_file(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.npy"


def _read(source: Source, box: Box) -> NDArray[Any]:
    slab = np.empty(box.shape, source.dtype)
    source.read_into(box.start[0], box.stop[0], slab)
    return slab


def _spacing_of(source: Source) -> Spacing:
    if source.spacing is None:
        raise InputError(
            f"{source.files[0] if source.files else 'the scan'} does not say its voxel size, and "
            "every length, area and volume depends on it; give it as --spacing 0.65um"
        )
    return source.spacing


def _recipe(verb: str, source: Source, spacing: Spacing, options: dict[str, Any]) -> Recipe:
    return Recipe(verb, {"source": source.identity()}, {"spacing": list(spacing.zyx), **options})


def _nbytes(source: Source) -> int:
    return int(np.prod(source.shape, dtype=np.int64)) * source.dtype.itemsize


def _peak_memory(source: Source, image: Image) -> int:
    """The slab as read and as stored, its pyramid, its compressed shards until they are written."""
    depth, (_, height, width) = min(SLAB, source.shape[0]), source.shape
    voxels = depth * height * width
    per_voxel = source.dtype.itemsize + 2.5 * image.dtype.itemsize
    return int(voxels * per_voxel) + _PROCESS_BYTES
