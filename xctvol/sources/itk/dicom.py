"""DICOM series: one slice a file, in the order and at the distances of their positions.

File names and slice numbers often run against the position, and SliceThickness is how much tissue
a slice shows, not how far slices are apart.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, shortened
from xctvol.sources.base import DEFLATE_DENSEST, Pixels, check_plausible
from xctvol.sources.itk.images import ItkHeader, read_header, read_pixels
from xctvol.sources.order import natural_key
from xctvol.sources.stack import Header, Stack, common_header
from xctvol.sources.tags import stated_spacing
from xctvol.units import Spacing

__all__ = ["open_series", "read_slice"]

_IMAGE_IO = "GDCMImageIO"
_POSITION, _ORIENTATION, _PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
_SERIES, _DESCRIPTION, _THICKNESS = "0020|000e", "0008|103e", "0018|0050"
_UNEVEN = 0.01  # share of the distance between slices by which it may vary
_THREADS = 8  # header reads wait for the file system, not for the processor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Slice:
    """A file of a series, and what its tags say."""

    path: Path
    header: ItkHeader

    def numbers(self, tag: str, count: int) -> Floats:
        """The values of a tag; raises InputError where it is absent or damaged."""
        text = self.header.tags.get(tag, "")
        try:
            values = np.array([float(value) for value in text.split("\\")])
        except ValueError:
            values = np.array([])
        if len(values) != count or not np.isfinite(values).all():
            raise InputError(
                f"{self.path} does not say where its slice lies (tag {tag} is {text!r}), so the "
                "order and distance of slices are unknown; export the series as TIFF"
            )
        return values


def open_series(files: Sequence[Path], spacing: Spacing | None) -> Stack:
    """All files as the slices of one scan, along growing position.

    Raises InputError, with a list, for several series, slices that differ, slices that lie twice
    in one place, and distances that vary.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        slices = list(pool.map(_read_slice_header, files))
    _check_one_series(slices)
    usual = common_header(
        files, [Header(_plane(item.header), item.header.dtype) for item in slices]
    )
    notes: tuple[str, ...] = ()
    step = None
    if len(slices) > 1:
        slices, step, notes = _in_place(slices)
    origin = "given"
    if spacing is None:
        spacing, origin = _stated(slices, step)
    paths = tuple(item.path for item in slices)
    shape = (len(paths), *usual.shape)
    return Stack(paths, shape, usual.dtype, spacing, origin, notes, read_slice)


def read_slice(path: Path, out: Pixels) -> None:
    """Fill `out` (y, x) with the grey values of a file, rescaled as it says."""
    pixels = read_pixels(path, _IMAGE_IO)
    if pixels.size != out.size or pixels.shape[-2:] != out.shape or pixels.dtype != out.dtype:
        raise InputError(
            f"{path} holds {pixels.shape} of {pixels.dtype}, but {out.shape} of {out.dtype} were "
            "found when the scan was opened; do not change it meanwhile"
        )
    out[...] = pixels.reshape(out.shape)


def _read_slice_header(path: Path) -> _Slice:
    header = read_header(path, _IMAGE_IO)
    if header.shape[0] != 1:
        raise InputError(
            f"{path} has {header.shape[0]} frames; only DICOM of one slice a file is read: export "
            "the series as such, or as TIFF"
        )
    check_plausible(path, header.nbytes, DEFLATE_DENSEST)
    return _Slice(path, header)


def _plane(header: ItkHeader) -> tuple[int, int]:
    return header.shape[1:]


def _check_one_series(slices: Sequence[_Slice]) -> None:
    series: dict[str, list[_Slice]] = {}
    for item in slices:
        series.setdefault(item.header.tags.get(_SERIES, ""), []).append(item)
    if len(series) > 1:
        each = [
            f"{items[0].header.tags.get(_DESCRIPTION) or 'without name'} ({len(items)} files, "
            f"{items[0].path.name} ...)"
            for items in series.values()
        ]
        raise InputError(
            f"{slices[0].path.parent} holds {len(series)} series: {shortened(each)}; a scan is one "
            "of them: put its files into a folder of their own"
        )


def _in_place(slices: Sequence[_Slice]) -> tuple[list[_Slice], float, tuple[str, ...]]:
    """Slices along growing position, their distance in mm, and what people should know."""
    row, column = np.split(_common(slices, _ORIENTATION, 6), 2)
    normal = np.cross(row, column)
    positions = np.array([item.numbers(_POSITION, 3) for item in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = [slices[n] for n in order], positions[order]
    along = positions @ normal
    step = float(np.median(np.diff(along)))
    _check_even(ordered, along, step)
    aside = positions - positions[0] - np.outer(along - along[0], normal)
    if np.abs(np.diff(aside, axis=0)).max() > _UNEVEN * step:
        raise InputError(
            f"{slices[0].path.parent}: each slice is shifted sideways against the one before, as "
            "with a tilted gantry; resample the series to upright slices first"
        )
    notes = [f"from {along[0]:g} to {along[-1]:g} mm in order of growing position"]
    names = [natural_key(item.path.name) for item in ordered]
    if all(a > b for a, b in pairwise(names)):
        notes.append("file names run against the position, so the last file comes first")
    thickness = ordered[0].header.tags.get(_THICKNESS, "")
    if thickness:
        notes.append(f"slices lie {step:g} mm apart; SliceThickness ({thickness} mm) is not used")
    return ordered, step, tuple(notes)


def _common(slices: Sequence[_Slice], tag: str, count: int) -> Floats:
    """The values of a tag that must be the same in all slices."""
    values = np.array([item.numbers(tag, count) for item in slices])
    for item, value in zip(slices, values, strict=True):
        if not np.allclose(value, values[0], rtol=1e-4, atol=1e-4):
            raise InputError(
                f"{item.path}: tag {tag} is {value.tolist()}, but {values[0].tolist()} in "
                f"{slices[0].path.name}; all slices of a scan must be alike"
            )
    first: Floats = values[0]
    return first


def _check_even(ordered: Sequence[_Slice], along: Floats, step: float) -> None:
    """Refuse slices in one place, and distances that differ."""
    gaps = np.diff(along)
    uneven = np.flatnonzero(np.abs(gaps - step) > _UNEVEN * abs(step))
    if step <= 0 or len(uneven):
        where = uneven if len(uneven) else np.flatnonzero(gaps <= 0)
        each = [
            f"{ordered[n].path.name} and {ordered[n + 1].path.name}: {gaps[n]:g} mm"
            for n in where.tolist()
        ]
        raise InputError(
            f"{ordered[0].path.parent}: slices are {step:g} mm apart, but not "
            f"{shortened(each)}; slices are missing, or there twice, and volumes would be wrong"
        )


def _stated(slices: Sequence[_Slice], step: float | None) -> tuple[Spacing | None, str]:
    """The voxel size; unknown for a single slice, and where pixels have no size."""
    if step is None or not slices[0].header.tags.get(_PIXEL_SPACING):
        return None, ""
    y, x = _common(slices, _PIXEL_SPACING, 2).tolist()
    spacing = stated_spacing((step, y, x), "mm")
    return spacing, "ImagePositionPatient and PixelSpacing" if spacing else ""
