"""Look-up tables of 2 x 2 x 2 cells: what each of the 256 cells adds to a region's surface.

A cell is eight voxels around a common corner; bit `4 dx + 2 dz + dy` of its mask says whether the
voxel at (dz, dy, dx) belongs to the region. Euler number, Crofton surface and marching-cubes
surface are sums over cells, so blocks can be added. The tables hold integers only: sums do not
depend on the order of adding, and areas come out equal for any division into blocks.
"""

from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes, mesh_surface_area

from xctvol.units import Spacing

__all__ = [
    "CROFTON",
    "EULER",
    "MARCHING_CUBES",
    "cell_table",
    "crofton_interface",
    "crofton_surface",
    "euler_number",
    "marching_cubes_surface",
]

EULER = 0
MARCHING_CUBES = 1
CROFTON = slice(2, 9)
"""Columns of the cell table."""

_CORNERS = np.array([(dz, dy, dx) for dx, dz, dy in product((0, 1), repeat=3)])
_INSIDE = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)
_MC_STEPS = 2**28  # 35 bits are left for the number of cells; rounding is below 2e-8
_GROUPS = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))
_SHARED_BY = np.array([4, 4, 4, 2, 2, 2, 1])  # cells that hold the same pair of voxels


@lru_cache(maxsize=4)
def cell_table(spacing: Spacing) -> NDArray[np.int64]:
    """What a cell of each mask adds, (256, 9): columns EULER, MARCHING_CUBES and CROFTON."""
    table = np.empty((256, 9), np.int64)
    table[:, EULER] = _eighths_of_euler_number()
    table[:, MARCHING_CUBES] = np.rint(_cell_areas(spacing) / _area_step(spacing))
    table[:, CROFTON] = _transitions()
    table.flags.writeable = False
    return table


def euler_number(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """Euler number from summed cells (..., 9): object 26-connected, background 6-connected."""
    return sums[..., EULER] // 8


def marching_cubes_surface(sums: NDArray[np.int64], spacing: Spacing) -> NDArray[np.floating]:
    """Area in um2 of the marching-cubes surface at level 0.5, from summed cells (..., 9)."""
    return sums[..., MARCHING_CUBES] * _area_step(spacing)


def crofton_surface(sums: NDArray[np.int64], spacing: Spacing) -> NDArray[np.float64]:
    """Surface in um2 by the Crofton formula in 13 directions, from summed cells (..., 9).

    S = 4 sum_d w_d n_d v / l_d: n_d changes between inside and outside along all lines of
    direction d, l_d the step along it, v the voxel's volume, w_d the share of the sphere that is
    nearest to d (Lehmann and Legland 2012, Insight Journal 852).
    """
    return _weighted(sums[..., CROFTON], _crofton_weights(spacing) / _SHARED_BY)


def crofton_interface(contacts: NDArray[np.int64], spacing: Spacing) -> NDArray[np.float64]:
    """Area in um2 between two materials, by the Crofton formula, from contacts (..., 7).

    (S_a + S_b - S_ab) / 2, with S_ab the surface of both together: of all changes, the pairs of
    one voxel of each material remain.
    """
    return _weighted(contacts, _crofton_weights(spacing))


def _weighted(counts: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of counts by their weights, in a fixed order: a matrix product promises none."""
    total = np.zeros(counts.shape[:-1])
    for column, weight in enumerate(weights):
        total += counts[..., column] * weight
    return total


def _eighths_of_euler_number() -> NDArray[np.int64]:
    """Vertices - edges + faces - cubes around the cell's centre, each by its share, times 8."""
    vertex = _INSIDE.any(axis=1)
    sides = [_INSIDE[:, _CORNERS[:, axis] == side] for axis in range(3) for side in (0, 1)]
    edges = np.sum([side.any(axis=1) for side in sides], axis=0)
    faces = np.sum([_INSIDE[:, a] | _INSIDE[:, b] for a, b in _pairs(1)], axis=0)
    return 8 * vertex - 4 * edges + 2 * faces - _INSIDE.sum(axis=1)


def _cell_areas(spacing: Spacing) -> NDArray[np.float64]:
    areas = np.zeros(256)
    for mask in range(1, 255):
        cell = np.zeros((2, 2, 2), np.float32)
        cell[tuple(_CORNERS.T)] = _INSIDE[mask]
        vertices, triangles, _, _ = marching_cubes(cell, 0.5)
        areas[mask] = mesh_surface_area(vertices * np.array(spacing.zyx), triangles)
    return areas


@lru_cache(maxsize=4)
def _area_step(spacing: Spacing) -> float:
    """Unit, in um2, in which marching-cubes areas are counted."""
    return float(_cell_areas(spacing).max()) / _MC_STEPS


def _transitions() -> NDArray[np.int64]:
    """Pairs of one voxel inside and one outside, (256, 7), by the group of their direction."""
    counts = np.zeros((256, len(_GROUPS)), np.int64)
    for order in (1, 2, 3):
        for a, b in _pairs(order):
            group = _GROUPS.index(tuple(abs(_CORNERS[a] - _CORNERS[b]).tolist()))
            counts[:, group] += _INSIDE[:, a] ^ _INSIDE[:, b]
    return counts


def _pairs(order: int) -> list[tuple[int, int]]:
    """Corners that differ in exactly `order` coordinates."""
    distance = np.abs(_CORNERS[:, None] - _CORNERS).sum(axis=2)
    return [(a, b) for a in range(8) for b in range(a) if distance[a, b] == order]


@lru_cache(maxsize=4)
def _crofton_weights(spacing: Spacing) -> NDArray[np.float64]:
    """um2 for each pair of voxels, one inside and one outside, of the seven groups."""
    steps = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])
    vectors = steps * np.array(spacing.zyx)
    lengths = np.linalg.norm(vectors, axis=1)
    directions = vectors / lengths[:, None]
    indices = [int((steps == group).all(axis=1).argmax()) for group in _GROUPS]
    shares = np.array([_share_of_sphere(directions, index) for index in indices])
    return 4 * shares * spacing.volume / lengths[indices]


def _share_of_sphere(directions: NDArray[np.float64], index: int) -> float:
    """Part of the unit sphere that is nearer to one of `directions` (n, 3) than to the others.

    The corners of this polygon are as near to two others. It is a fan of triangles around the
    direction, with solid angles by Van Oosterom and Strackee (1983).
    """
    center = directions[index]
    away = np.delete(center - directions, index, axis=0)
    corners = np.array([np.cross(a, b) for a, b in combinations(away, 2)])
    corners = corners[np.linalg.norm(corners, axis=1) > 1e-9]
    corners = np.concatenate([corners, -corners])
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    corners = corners[(corners @ away.T > -1e-12).all(axis=1)]
    right = corners[0] - center * (corners[0] @ center)
    angle = np.arctan2(corners @ np.cross(center, right), corners @ right)
    here = corners[np.argsort(angle)]
    following = np.roll(here, -1, axis=0)
    height = np.cross(here, following) @ center
    width = 1 + here @ center + following @ center + (here * following).sum(axis=1)
    return float(2 * np.arctan2(height, width).sum() / (4 * np.pi))
