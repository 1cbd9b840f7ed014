"""The plans of convert: slabs, each read once, with one range of grey values for the whole scan.

Where the range is given in percentiles, a first stage counts grey values.
"""

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.errors import InputError, UsageError, shortened
from xctvol.files import read_json, write_json
from xctvol.journal import Journal, Recipe
from xctvol.labels import ByMaterials, Keep, LabelRule, Labels, NonZero, open_labels
from xctvol.locations import Location, located, named
from xctvol.materials import UNLABELLED, Materials
from xctvol.plan import Plan, Stage, refuse_own_input
from xctvol.resources import thread_budget
from xctvol.sources import Source, has_palette
from xctvol.sources.slabs import FileStates, held_bytes, refuse_changed
from xctvol.stages.convert.slabs import (
    ConvertLabels,
    ConvertSlab,
    CountGrey,
    Scan,
    counts_file,
    resolve,
)
from xctvol.units import Spacing
from xctvol.volume import (
    SLAB,
    Checksums,
    Codec,
    CodecName,
    Histogram,
    Image,
    ImageProduct,
    Percentiles,
    Volume,
    Window,
    default_codec,
    image_label,
    label_names,
    open_volume,
    parse_window,
    release,
)

__all__ = ["convert", "convert_labels"]

_PROCESS_BYTES = 200_000_000  # interpreter and libraries
_GREY_BYTES, _LABEL_BYTES = 8, 48  # for a voxel of a slice, in each thread: decoding, counting


def convert(
    source: Source,
    output: str | Location,
    *,
    window: Window | Percentiles | str | None = None,
    codec: CodecName | None = None,
) -> Plan[Volume]:
    """Plan to convert a scan to an OME-Zarr volume at `output`.

    With a `window` voxels are stored as uint8, 0..255 standing for its range of original grey
    values, which is recorded; it may be text as on the command line ("0.1%,99.9%"). Without one
    they keep their type. NaN and infinities are counted; a window stores them as 0 and as its
    ends. Raises InputError where the voxel size is unknown, and for numbers of a palette, and
    UsageError for a window outside of what the type of the scan can hold.
    """
    if has_palette(source):
        raise InputError(
            f"{source.files[0]} is a colour image: its voxels are numbers of colours in a palette, "
            "not grey values; add --labels if they are labels, else save the scan as grey"
        )
    window = parse_window(window) if isinstance(window, str) else window
    _refuse_idle(window, source.dtype)
    dtype = source.dtype if window is None else np.dtype(np.uint8)
    image = Image(
        _place(output), source.shape, dtype, Codec(codec) if codec else default_codec(dtype)
    )
    product = ImageProduct(image.path, open_volume)
    options = {"window": str(window or "none"), "codec": image.codec.name}
    job = _Job.of("convert", source, image, options)
    counting, chosen = _window_stage(job, window)
    slabs = Stage("convert", ConvertSlab(job.scan, image, chosen), image.layout.slabs, job.journal)

    def conclude() -> None:
        found = resolve(chosen)
        own = {
            "window": found.to_json() if found else None,
            "source_dtype": source.dtype.name,
            **_counted(chosen),
            **_not_finite(job.results()),
        }
        job.finish({}, own)

    return Plan(
        recipe=job.recipe,
        product=product,
        stages=(*counting, slabs),
        conclude=conclude,
        peak_memory=_peak_memory(source, image, _GREY_BYTES),
        reads=(1 + len(counting)) * _nbytes(source),
        writes=image.nbytes,
        notes=job.notes(),
    )


def convert_labels(
    source: Source,
    output: str | Location,
    *,
    materials: Materials | None = None,
    nonzero: str | None = None,
) -> Plan[Labels]:
    """Plan to convert a stack of label values to a label volume at `output`.

    With `materials`, their mask values become their labels, and any other value is refused. With
    `nonzero`, every voxel that is not zero belongs to the one material of that name. Without
    either, values stay as they are, 0 to 255, and get numbers for names.
    """
    if source.dtype.kind not in "ui":
        raise InputError(f"the source holds {source.dtype}; labels are whole numbers")
    rule = _label_rule(source, materials, nonzero)
    image = Image(_place(output), source.shape, rule.dtype, Codec("zstd"))
    product = ImageProduct(image.path, open_labels)
    job = _Job.of("convert --labels", source, image, {"labels": rule.to_json()})
    task = ConvertLabels(job.scan, image, rule)

    def conclude() -> None:
        found = {value for done in job.results() for value in done["values"]}
        named = rule.materials(sorted(found - {UNLABELLED}))
        job.finish({"image-label": image_label(named, None)}, {"materials": named.to_json()})

    return Plan(
        recipe=job.recipe,
        product=product,
        stages=(Stage("convert", task, image.layout.slabs, job.journal),),
        conclude=conclude,
        peak_memory=_peak_memory(source, image, _LABEL_BYTES),
        reads=_nbytes(source),
        writes=image.nbytes,
        notes=job.notes(),
    )


@dataclass(frozen=True)
class _Job:
    """What converting grey values and converting labels have in common."""

    scan: Scan
    image: Image
    spacing: Spacing
    recipe: Recipe
    files: FileStates
    work: Location

    @classmethod
    def of(cls, verb: str, source: Source, image: Image, options: dict[str, Any]) -> "_Job":
        if isinstance(image.path, Path):
            folders = {file.parent for file in source.files}  # few, where files are thousands
            refuse_own_input(folders, image.path)
        spacing = _spacing_of(source)
        recipe = Recipe(
            verb, {"source": source.identity()}, {"spacing": list(spacing.zyx), **options}
        )
        files = FileStates.of(source.files)
        work = ImageProduct(image.path, open_volume).work
        return cls(Scan(source, files.newest_ns), image, spacing, recipe, files, work)

    @property
    def journal(self) -> Journal:
        return Journal(self.work / "slabs")

    def results(self) -> list[Any]:
        """What each slab came to; raises PartialError before all are done."""
        return self.journal.all_results(len(self.image.layout.slabs))

    def finish(self, ome: dict[str, Any], own: dict[str, Any]) -> None:
        """Make an image of the slabs, unless the source is not the one that was planned for."""
        source = self.scan.source
        refuse_changed(source, self.files, self.recipe.inputs["source"])
        history = {
            "recipe": self.recipe.to_json(),
            "spacing_origin": source.spacing_origin,
            "source": list(source.summary()),
        }
        done = self.results()
        checksums = Checksums.joined((slab["shards"], slab["slices"]) for slab in done)
        self.image.finish(self.spacing, ome, {**history, **own}, checksums)
        release()

    def notes(self) -> tuple[str, ...]:
        """What the source holds, and which of its files changed since slabs were made of them."""
        results = self.journal.results().values()
        before = FileStates({p: state for slab in results for p, state in slab["files"].items()})
        changed = self.files.changed(before)
        warnings = tuple(f"WARNING: {path} changed since it was converted" for path in changed[:1])
        return (*self.scan.source.summary(), *warnings, *self._labels_of_another())

    def _labels_of_another(self) -> tuple[str, ...]:
        """That labels are there which were made of what this would replace: they are kept."""
        path = self.image.path
        names = label_names(path)
        if not names or not (path / "zarr.json").exists():
            return ()
        made_by = open_volume(path).recipe
        if made_by is not None and made_by.digest == self.recipe.digest:
            return ()
        return (f"WARNING: labels of the volume to be replaced stay in {path}: {shortened(names)}",)


def _window_stage(
    job: _Job, window: Window | Percentiles | None
) -> tuple[tuple[Stage, ...], Window | Location | None]:
    """The stage that finds a window given in percentiles, and where the window will stand."""
    if not isinstance(window, Percentiles):
        return (), window
    folder, found = job.work / "histogram", job.work / "window.json"
    slabs, dtype = job.image.layout.slabs, job.scan.source.dtype

    def conclude() -> None:
        each = (_histogram(dtype, counts_file(folder, block.index)) for block in slabs)
        histogram = functools.reduce(operator.add, each)
        chosen = histogram.window(window)
        write_json(_histogram_file(found), histogram.stored(chosen))
        write_json(found, chosen.to_json())

    task = CountGrey(job.scan, folder)
    return (Stage("histogram", task, slabs, Journal(folder), "slices", conclude),), found


def _place(output: str | Location) -> Location:
    return named(located(output), "the volume")


def _refuse_idle(window: Window | Percentiles | None, dtype: np.dtype[Any]) -> None:
    """Raise UsageError for a window that would store every voxel as black, or as white."""
    if not isinstance(window, Window) or dtype.kind not in "ui":
        return
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    if window.low >= most or window.high <= least:
        raise UsageError(
            f"the window {window} lies outside of the grey values of the scan, which are {dtype} "
            f"({least}..{most}): all voxels would be stored as one value; give a window of grey "
            "values that occur, or percentiles as 0.1%,99.9%"
        )


def _histogram(dtype: np.dtype[Any], path: Location) -> Histogram:
    with path.open("rb") as file:
        return Histogram.load(dtype, file)


def _histogram_file(window: Location) -> Location:
    return window.with_name("histogram.json")


def _counted(window: Window | Location | None) -> dict[str, Any]:
    """The counts behind a window that was found in the scan."""
    if isinstance(window, Window | None):
        return {}
    return {"histogram": read_json(_histogram_file(window))}


def _not_finite(results: Sequence[Any]) -> dict[str, Any]:
    """How many voxels are not finite, where there are such."""
    nan, infinite = (
        sum(counts) for counts in zip(*(r["not_finite"] for r in results), strict=True)
    )
    return {"not_finite": {"nan": nan, "infinite": infinite}} if nan or infinite else {}


def _label_rule(source: Source, materials: Materials | None, nonzero: str | None) -> LabelRule:
    if materials is not None and nonzero is not None:
        raise UsageError("labels are given by materials or by being non-zero, not by both")
    if materials is not None:
        return ByMaterials(materials)
    return Keep(source.dtype) if nonzero is None else NonZero(nonzero)


def _spacing_of(source: Source) -> Spacing:
    if source.spacing is None:
        raise InputError(
            f"{source.files[0] if source.files else 'the scan'} does not say its voxel size, and "
            "every length, area and volume depends on it; give it as --spacing 0.65um"
        )
    return source.spacing


def _nbytes(source: Source) -> int:
    return int(np.prod(source.shape, dtype=np.int64)) * source.dtype.itemsize


def _peak_memory(source: Source, image: Image, working_bytes: int) -> int:
    """The slab as read and as stored, the level below it, and what every thread works with."""
    depth, (_, height, width) = min(SLAB, source.shape[0]), source.shape
    plane = height * width
    slab = depth * plane * (source.dtype.itemsize + 1.25 * image.dtype.itemsize)
    threads = min(thread_budget(), depth) * plane * working_bytes
    return int(slab) + threads + held_bytes(source) + _PROCESS_BYTES
