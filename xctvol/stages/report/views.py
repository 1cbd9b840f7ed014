"""Slices of a volume as pictures: only planes are read, at the resolution a page can show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Box, Index3
from xctvol.labels import Labels
from xctvol.stages.report.images import (
    display_range,
    grey_image,
    overlay_image,
    to_data_uri,
)
from xctvol.stages.report.quantities import length
from xctvol.volume import Volume

__all__ = ["View", "contact_sheet", "largest_plane", "orthoslices"]

_AXES = ("z", "y", "x")
_ORTHO_PIXELS = 900
_SHEET_PIXELS = 360
_SHEET_SLICES = 12
_COARSE_PIXELS = 200


@dataclass(frozen=True)
class View:
    """One plane: its pictures as data URIs, its size, and where the other planes cut it.

    `grey` is empty where the labels are of no scan.
    """

    name: str
    position: str
    width_um: float
    height_um: float
    grey: str
    overlay: str
    coarse: bool
    """Whether a page shows more pixels than there are, and should show them as squares."""
    across: float
    """Where the plane of the vertical line cuts, as a share of the width."""
    down: float
    """Where the plane of the horizontal line cuts, as a share of the height."""


@dataclass(frozen=True)
class _Plane:
    """The slice of `axis` at `index` of level 0; its rows and columns lie along the axes named."""

    name: str
    axis: int
    index: int
    rows: int
    columns: int


def orthoslices(volume: Volume, labels: Labels) -> tuple[View, View, View]:
    """The planes xy, xz and yz through the centre; in yz, z runs to the right."""
    xy, xz, yz = _views(volume, labels, _centre(volume.shape), _ORTHO_PIXELS)
    return (xy, xz, yz)


def contact_sheet(volume: Volume, labels: Labels) -> tuple[View, ...]:
    """Evenly spaced slices, each in the middle of its share of the volume."""
    depth = volume.shape[0]
    count = min(_SHEET_SLICES, depth)
    planes = [_Plane("xy", 0, (2 * i + 1) * depth // (2 * count), 1, 2) for i in range(count)]
    return _views(volume, labels, planes, _SHEET_PIXELS)


def largest_plane(volume: Volume) -> int:
    """Voxels of the largest plane that is read for a page."""
    shape = volume.levels[_level(volume, _centre(volume.shape), _ORTHO_PIXELS)].shape
    return math.prod(shape) // min(shape)


def _centre(shape: Index3) -> tuple[_Plane, _Plane, _Plane]:
    z, y, x = (n // 2 for n in shape)
    return (_Plane("xy", 0, z, 1, 2), _Plane("xz", 1, y, 0, 2), _Plane("yz", 2, x, 1, 0))


def _views(
    volume: Volume, labels: Labels, planes: Sequence[_Plane], pixels: int
) -> tuple[View, ...]:
    found = _read(labels.volume, planes, pixels)
    alone = volume.path == labels.volume.path
    greys = [""] * len(planes) if alone else _greys(volume, planes, pixels)
    return tuple(
        _view(volume, plane, grey, overlay_image(label, labels.materials))
        for plane, grey, label in zip(planes, greys, found, strict=True)
    )


def _greys(volume: Volume, planes: Sequence[_Plane], pixels: int) -> list[str]:
    greys = _read(volume, planes, pixels)
    low, high = display_range(greys)
    return [to_data_uri(grey_image(grey, low, high)) for grey in greys]


def _view(volume: Volume, plane: _Plane, grey: str, overlay: NDArray[np.uint8]) -> View:
    sizes = [n * s for n, s in zip(volume.shape, volume.spacing.zyx, strict=True)]
    cuts = [(n // 2 + 0.5) / n for n in volume.shape]
    depth = length(plane.index * volume.spacing.zyx[plane.axis])
    return View(
        name=plane.name,
        position=f"{_AXES[plane.axis]} = {plane.index} ({depth})",
        width_um=sizes[plane.columns],
        height_um=sizes[plane.rows],
        grey=grey,
        overlay=to_data_uri(overlay),
        coarse=max(overlay.shape) < _COARSE_PIXELS,
        across=cuts[plane.columns],
        down=cuts[plane.rows],
    )


def _read(volume: Volume, planes: Sequence[_Plane], pixels: int) -> list[NDArray[Any]]:
    """Planes with `pixels` to twice as many along their longest side, or all there are.

    They are taken from the coarsest level that has enough; where even that has too many, because
    another program made the volume, every so many are left out.
    """
    level = _level(volume, planes, pixels)
    step = -(-_longest(volume.levels[level].shape, planes) // (2 * pixels))
    return [_read_plane(volume, plane, level)[::step, ::step].copy() for plane in planes]


def _read_plane(volume: Volume, plane: _Plane, level: int) -> NDArray[Any]:
    full, shape = volume.shape[plane.axis], volume.levels[level].shape
    index = min(plane.index * shape[plane.axis] // full, shape[plane.axis] - 1)
    image = volume.read(_box(shape, plane.axis, index), level).squeeze(plane.axis)
    return image if plane.rows < plane.columns else image.T


def _level(volume: Volume, planes: Sequence[_Plane], pixels: int) -> int:
    longest = [_longest(array.shape, planes) for array in volume.levels]
    return max((level for level, size in enumerate(longest) if size >= pixels), default=0)


def _longest(shape: Index3, planes: Sequence[_Plane]) -> int:
    return max(shape[axis] for plane in planes for axis in (plane.rows, plane.columns))


def _box(shape: Index3, axis: int, index: int) -> Box:
    start, stop = [0, 0, 0], list(shape)
    start[axis], stop[axis] = index, index + 1
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
