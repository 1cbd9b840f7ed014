"""Drawing a section of a leaf: the material of every voxel, and how deep it is in its cell."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.sources.leaf import Cells, Floats, Leaf, Surfaces, Vein, Whole

__all__ = [
    "AIR_SPACE",
    "BACKGROUND",
    "EPIDERMIS",
    "EXTENSION",
    "MESOPHYLL",
    "VEIN",
    "Axis",
    "Depth",
    "Labels",
    "draw",
]

BACKGROUND, EPIDERMIS, MESOPHYLL, AIR_SPACE, EXTENSION, VEIN = range(1, 7)

Depth = NDArray[np.float32]
Labels = NDArray[np.uint8]

_SHEATH = 1.5  # radius of the sheath in radii of its vein
_PLATE, _FLARE = 0.38, 0.5  # half width of a plate in radii of its vein, and its growth outwards
_LOBES = 0.2  # unevenness of the vein


@dataclass(frozen=True)
class Axis:
    """Voxel centres along y or x: (first + i + 0.5) * step_um, for i below count."""

    step_um: float
    count: int
    first: int = 0

    def at(self, index: Whole) -> Floats:
        return np.asarray((index + (self.first + 0.5)) * self.step_um, np.float64)

    @property
    def centres(self) -> Floats:
        return self.at(np.arange(self.count))

    def part(self, start: int, stop: int) -> "Axis":
        return Axis(self.step_um, stop - start, self.first + start)

    def spans(self, low: Any, high: Any) -> tuple[Whole, Whole]:
        """First index, and one past the last, of ranges with all centres from low to high."""
        start = np.floor(np.asarray(low) / self.step_um).astype(np.int64) - self.first
        stop = np.ceil(np.asarray(high) / self.step_um).astype(np.int64) - self.first
        start = np.clip(start, 0, self.count)
        return start, np.clip(stop, start, self.count)

    def span(self, low: float, high: float) -> slice:
        start, stop = self.spans(low, high)
        return slice(int(start), int(stop))


def draw(leaf: Leaf, z: float, y: Axis, x: Axis, labels: Labels, depth: Depth) -> None:
    """Fill `labels` and `depth` (y, x) with the section at z.

    `depth` is roughly the distance in um to the nearest cell wall or cuticle; 0 in air.
    """
    surfaces = leaf.surfaces(z, x.centres)
    labels[...], depth[...] = BACKGROUND, 0
    rows = y.span(surfaces.top.min(), surfaces.bottom.max())
    y, labels, depth = y.part(rows.start, rows.stop), labels[rows], depth[rows]
    for cells in (leaf.palisade(z), leaf.spongy(z)):
        _draw_cells(z, y, x, cells, depth)
    np.subtract(AIR_SPACE, depth > 0, out=labels, dtype=np.uint8)
    for vein in leaf.veins(z):
        _draw_vein(leaf, z, vein, y, x, labels, depth)
    to_side = 0.4 * leaf.cell_um * np.abs(np.sin(leaf.epidermis_phase(z, x.centres)))
    _draw_epidermis(y, surfaces, to_side, labels, depth)


def _draw_cells(z: float, y: Axis, x: Axis, cells: Cells, depth: Depth) -> None:
    """Raise `depth` inside every cell, each within its own bounding box.

    Half the radius times what the ellipsoid's equation leaves of one is close to the distance from
    the wall where that matters: near it. All that depends on y or x alone is computed for all
    cells at once, in rows as long as the largest box.
    """
    high = cells.half + cells.ry
    wide = cells.rx + np.abs(cells.lean) * high
    top, bottom = y.spans(cells.y - high, cells.y + high)
    left, right = x.spans(cells.x - wide, cells.x + wide)
    dy = y.at(_windows(top, bottom)) - cells.y[:, np.newaxis]
    dx = x.at(_windows(left, right)) - cells.x[:, np.newaxis]
    beyond = np.maximum(np.abs(dy) - cells.half[:, np.newaxis], 0) / cells.ry[:, np.newaxis]
    left_by_z = 1 - ((z - cells.z) / cells.rz) ** 2
    scale = np.sqrt(0.5 / cells.rx)[:, np.newaxis]
    rest = _column(cells.rx[:, np.newaxis] / 2 * (left_by_z[:, np.newaxis] - beyond**2))
    shift = _column(scale * cells.lean[:, np.newaxis] * dy)
    across = (scale * dx).astype(np.float32)
    boxes = zip(*(edge.tolist() for edge in (top, bottom, left, right)), strict=True)
    for cell, (y0, y1, x0, x1) in enumerate(boxes):
        inside = across[cell, : x1 - x0] - shift[cell, : y1 - y0]
        inside *= inside
        np.subtract(rest[cell, : y1 - y0], inside, out=inside)
        box = depth[y0:y1, x0:x1]
        np.maximum(box, inside, out=box)


def _draw_vein(
    leaf: Leaf, z: float, vein: Vein, y: Axis, x: Axis, labels: Labels, depth: Depth
) -> None:
    """Draw a vein, its sheath and its plates, all the way through the leaf."""
    reach = 1.15 * _SHEATH * vein.radius
    columns = x.span(vein.x - reach, vein.x + reach)
    labels, depth = labels[:, columns], depth[:, columns]
    y_um, x_um = y.centres - vein.y, x.centres[columns] - vein.x
    dy, dx = y_um / vein.radius, x_um / vein.radius
    turn = 2 * np.pi * z / (3 * vein.radius)
    squared = _column(dy**2) + (dx**2).astype(np.float32)
    lobes = _column(_LOBES * np.sin(5 * dy + turn)) * np.cos(5 * dx).astype(np.float32)
    half_width = _PLATE + _FLARE * (2 * y_um / leaf.thickness_um) ** 2
    plate = np.abs(dx).astype(np.float32) < _column(half_width)
    for material, where, cell_um in (
        (EXTENSION, plate | (squared + 1.5 * lobes < _SHEATH**2), 0.9 * leaf.cell_um),
        (VEIN, squared + lobes < 1, 0.4 * leaf.cell_um),
    ):
        np.copyto(labels, material, where=where)
        np.copyto(depth, _packed(y_um, x_um, cell_um), where=where)


def _packed(y_um: Floats, x_um: Floats, cell_um: float) -> Depth:
    """Depth in round cells packed as in a honeycomb, `cell_um` apart.

    The sum of three waves, a third of a turn apart, is highest on a triangular lattice. As a sum
    of products of a column and a row it needs no cosine a voxel.
    """
    turn = 4 * np.pi / (np.sqrt(3) * cell_um)
    y, x = turn * y_um, turn * np.sqrt(3) / 2 * x_um
    waves = _column(2 * np.cos(y / 2)) * np.cos(x).astype(np.float32)
    waves += _column(np.cos(y) + 0.6)
    waves *= np.float32(cell_um / 6)
    return np.maximum(waves, np.float32(0.01), out=waves)  # above 0, which stands for air


def _draw_epidermis(
    y: Axis, surfaces: Surfaces, to_side: Floats, labels: Labels, depth: Depth
) -> None:
    """Draw both epidermises over what is there, and the background beyond them."""
    faces = (
        (surfaces.top, surfaces.under_top, 1),
        (surfaces.bottom, surfaces.over_bottom, -1),
    )
    for outer, inner, inward in faces:
        rows = y.span(min(outer.min(), inner.min()), max(outer.max(), inner.max()))
        deep = _column(inward * y.centres[rows]) - (inward * outer).astype(np.float32)
        epidermis = deep < (inward * (inner - outer)).astype(np.float32)
        np.copyto(labels[rows], EPIDERMIS, where=epidermis)
        np.copyto(labels[rows], BACKGROUND, where=deep < 0)
        np.minimum(deep, to_side.astype(np.float32), out=deep)
        np.copyto(depth[rows], np.maximum(deep, 0, out=deep), where=epidermis)


def _column(values: Floats) -> NDArray[np.float32]:
    """As a column: one more axis, along x."""
    return values.astype(np.float32)[..., np.newaxis]


def _windows(start: Whole, stop: Whole) -> Whole:
    """Indices from each start on, in rows as long as the longest range."""
    return start[:, np.newaxis] + np.arange((stop - start).max(initial=0))
