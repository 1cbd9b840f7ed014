"""The anatomy of a made-up leaf: where its surfaces, cells and veins lie, in micrometres.

Everything is a function of position alone: a section at one z needs no other, and the same leaf
can be sampled at any spacing. All chance is hashed from the seed and lattice positions, so a cell
is the same from wherever it is asked for.

From top to bottom: upper epidermis, palisade (upright capsules on a hexagonal lattice), spongy
mesophyll (ellipsoids), lower epidermis. What no cell fills is air space. Veins run along z in a
sheath, from which plates extend to both epidermises.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "Floats", "Leaf", "Surfaces", "Vein", "Whole"]

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_THICKNESS = 0.56  # share of the domain's height
_CELL_UM, _AT_THICKNESS_UM = 36.0, 350.0

# Shares of the leaf's thickness.
_UPPER_EPIDERMIS, _LOWER_EPIDERMIS = 0.085, 0.07
_PALISADE = 0.3
_VEIN_RADIUS, _VEIN_DISTANCE = 0.105, 1.0

_MIDDLE, _THICK, _SIDES, _PALISADE_CELL, _SPONGY_CELL, _VEIN = range(6)  # what chance decides on


class Surfaces(NamedTuple):
    """Heights y of both faces of both epidermises; y grows downwards."""

    top: Floats
    under_top: Floats
    over_bottom: Floats
    bottom: Floats


class Cells(NamedTuple):
    """Ellipsoids of radii (rz, ry, rx), cut across and drawn apart by 2 * `half` along y.

    `lean` is how far the axis drifts along x, per y.
    """

    z: Floats
    y: Floats
    x: Floats
    rz: Floats
    ry: Floats
    rx: Floats
    half: Floats
    lean: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "Cells":
        return Cells(*(values[chosen] for values in self))


class Vein(NamedTuple):
    """A vein where it crosses a section."""

    y: float
    x: float
    radius: float


@dataclass(frozen=True)
class Leaf:
    """A leaf in a domain of `height_um` x `width_um` (y, x), without end along z.

    Its thickness is a share of the height. Cells grow with the square root of the thickness, so a
    thicker leaf has larger cells and more of them.
    """

    height_um: float
    width_um: float
    seed: int

    @property
    def thickness_um(self) -> float:
        return _THICKNESS * self.height_um

    @property
    def cell_um(self) -> float:
        """Distance between palisade cells."""
        return _CELL_UM * math.sqrt(self.thickness_um / _AT_THICKNESS_UM)

    def surfaces(self, z: float | Floats, x: Floats) -> Surfaces:
        """The four surfaces above the points (z, x)."""
        thickness = self.thickness_um
        middle = self.height_um / 2 + 0.06 * thickness * self._wave(_MIDDLE, 1.6 * thickness, z, x)
        half = thickness / 2 * (1 + 0.05 * self._wave(_THICK, 1.1 * thickness, z, x))
        bulge = np.abs(np.sin(self.epidermis_phase(z, x)))
        return Surfaces(
            middle - half - 0.15 * _UPPER_EPIDERMIS * thickness * bulge,
            middle - half + _UPPER_EPIDERMIS * thickness,
            middle + half - _LOWER_EPIDERMIS * thickness,
            middle + half + 0.25 * _LOWER_EPIDERMIS * thickness * bulge,
        )

    def epidermis_phase(self, z: float | Floats, x: Floats) -> Floats:
        """Grows by pi from one side wall of the epidermis to the next."""
        width = 1.25 * self.cell_um
        return np.pi / width * (x + 0.4 * width * self._wave(_SIDES, 3 * width, z, x))

    def palisade(self, z: float) -> Cells:
        """The palisade cells that z cuts: columns that hang from the upper epidermis."""
        pitch = self.cell_um
        column_pitch = pitch * math.sqrt(3) / 2
        i, j = _lattice(_around(z, pitch), _across(self.width_um, column_pitch))
        c = _chance(self.seed, _PALISADE_CELL, i, j)
        zc = (i + 0.5 * (j % 2) + 0.3 * (c[0] - 0.5)) * pitch
        xc = (j + 0.5 + 0.3 * (c[1] - 0.5)) * column_pitch
        radius = pitch * (0.43 + 0.11 * c[2])
        half = np.maximum(self.thickness_um * _PALISADE * (0.45 + 0.12 * c[3]) - radius, 0)
        yc = self.surfaces(zc, xc).under_top + 0.4 * radius + half
        cells = Cells(zc, yc, xc, radius, radius, radius, half, 0.24 * (c[4] - 0.5))
        return cells.where(np.abs(zc - z) < radius)

    def spongy(self, z: float) -> Cells:
        """The spongy cells that z cuts, from the palisade to the lower epidermis."""
        pitch = 0.98 * self.cell_um
        axes = _around(z, pitch), _across(self.height_um, pitch), _across(self.width_um, pitch)
        i, j, k = _lattice(*axes)
        c = _chance(self.seed, _SPONGY_CELL, i, j, k)
        zc, yc, xc = ((p + 0.5 + 0.7 * (c[n] - 0.5)) * pitch for n, p in enumerate((i, j, k)))
        rz, ry, rx = pitch * (0.45 + 0.3 * c[3:6])
        lean = 0.8 * (c[6] - 0.5)
        cells = Cells(zc, yc, xc, rz, ry, rx, np.zeros_like(rx), lean)
        some = cells.where((np.abs(zc - z) < rz) & (c[7] > 0.08))  # few are missing, as under pores
        surfaces = self.surfaces(some.z, some.x)
        ceiling = surfaces.under_top + 0.93 * _PALISADE * self.thickness_um
        return some.where((some.y > ceiling) & (some.y < surfaces.over_bottom + 0.3 * pitch))

    def veins(self, z: float) -> list[Vein]:
        """All veins where they cross the section at z."""
        thickness = self.thickness_um
        count = max(1, round(self.width_um / (_VEIN_DISTANCE * thickness)))
        size, place, *_ = _chance(self.seed, _VEIN, np.arange(count))
        radius = _VEIN_RADIUS * thickness * (0.88 + 0.3 * size)
        x = (np.arange(count) + 0.5 + 0.3 * (place - 0.5)) * self.width_um / count
        y = np.full(count, self.height_um / 2 + 0.08 * thickness)
        for number in range(count):
            y[number] += 0.06 * thickness * self._wave(_VEIN + 2 * number + 1, thickness, z, 0.0)
            x[number] += 0.08 * thickness * self._wave(_VEIN + 2 * number + 2, thickness, z, 0.0)
        return [
            Vein(*values) for values in zip(y.tolist(), x.tolist(), radius.tolist(), strict=True)
        ]

    def _wave(self, subject: int, length: float, z: float | Floats, x: float | Floats) -> Floats:
        """A smooth wave of about `length` um, between -1 and 1."""
        total = np.zeros(np.broadcast(z, x).shape)
        for per_x, per_z, phase in _wave_parts(self.seed, subject):
            turns = x * (per_x / length) + z * (per_z / length) + phase
            total += np.sin(2 * np.pi * turns) / 3
        return total


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=256)
def _wave_parts(seed: int, subject: int) -> list[tuple[float, float, float]]:
    """Frequencies along x and z, and phases, of the three sines of a wave."""
    along_x, along_z, phase, *_ = _chance(seed, subject, np.arange(3)).tolist()
    return [
        (1 / (0.7 + 0.9 * a), 1 / (1.2 + 1.2 * b), c)
        for a, b, c in zip(along_x, along_z, phase, strict=True)
    ]


def _chance(seed: int, subject: int, *position: Whole) -> Floats:
    """Eight independent numbers in [0, 1) for each lattice position: (8, positions)."""
    key = np.full(position[0].shape, (seed * 1_000_003 + subject) % 2**64, np.uint64)
    for axis in position:
        key = _mixed(key ^ axis.astype(np.int64).view(np.uint64))
    draws = np.arange(1, 9, dtype=np.uint64)[:, np.newaxis]
    return (_mixed(key + draws * _GOLDEN) >> np.uint64(11)) / 2.0**53


def _mixed(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014), which leaves no pattern in keys."""
    key = key + _GOLDEN
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def _lattice(*axes: Whole) -> list[Whole]:
    """Every position of a lattice, axis by axis."""
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def _around(z: float, pitch: float) -> Whole:
    """Lattice planes whose cells may reach z."""
    nearest = math.floor(z / pitch)
    return np.arange(nearest - 1, nearest + 2)


def _across(extent: float, pitch: float) -> Whole:
    """Lattice positions whose cells may lie between 0 and `extent`."""
    return np.arange(-2, math.ceil(extent / pitch) + 2)
