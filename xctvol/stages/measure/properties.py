"""From exact integer sums to the columns of the tables, in micrometres.

Lengths, areas and volumes are computed once for the whole volume, from integers: equal inputs give
equal bytes, however the volume was divided.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Index3
from xctvol.materials import Materials
from xctvol.stages.measure.merge import Regions
from xctvol.stages.measure.profile import perimeter
from xctvol.stages.measure.sums import CELLS, CROSS_MOMENTS, MOMENTS, SQUARES, VOXELS
from xctvol.stages.measure.surface import crofton_surface, euler_number, marching_cubes_surface
from xctvol.stages.measure.totals import Totals
from xctvol.units import Spacing

__all__ = ["Columns", "interface_columns", "material_columns", "region_columns", "slice_columns"]

Columns = dict[str, NDArray[Any]]
_AXES = ("z", "y", "x")


def region_columns(
    regions: Regions, shape: Index3, spacing: Spacing, materials: Materials
) -> Columns:
    """One row a region, by rising label; names and order of the columns of regions.parquet."""
    voxels = regions.sums[:, VOXELS]
    volume = voxels * spacing.volume
    centroid = regions.sums[:, MOMENTS] / np.maximum(voxels, 1)[:, None]
    low, high = regions.boxes[:, :3], regions.boxes[:, 3:]
    cells = regions.sums[:, CELLS]
    surface = crofton_surface(cells, spacing)
    names = np.full(256, "", object)
    names[list(materials.labels)] = materials.names
    return {
        "label": np.arange(1, len(regions) + 1),
        "material": names[regions.values],
        "voxels": voxels,
        "volume_um3": volume,
        **{f"bbox_{axis}0": low[:, i] for i, axis in enumerate(_AXES)},
        **{f"bbox_{axis}1": high[:, i] for i, axis in enumerate(_AXES)},
        **{f"centroid_{axis}": centroid[:, i] for i, axis in enumerate(_AXES)},
        **{f"centroid_{a}_um": centroid[:, i] * spacing.zyx[i] for i, a in enumerate(_AXES)},
        **_shape_columns(regions, spacing),
        "equivalent_diameter_um": np.cbrt(6 * volume / np.pi),
        "extent": voxels / np.prod(high - low, axis=1),
        "euler_number": euler_number(cells),
        "surface_um2": surface,
        "surface_mc_um2": marching_cubes_surface(cells, spacing),
        "sphericity": np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / surface,
        "touches_border": ((low == 0) | (high == np.array(shape))).any(axis=1),
    }


def _shape_columns(regions: Regions, spacing: Spacing) -> Columns:
    """Principal moments of inertia per voxel, and axes of the ellipsoid that has them."""
    variance, covariance = _covariance(regions, spacing)
    trace = variance.sum(axis=1)
    tensor = np.empty((len(regions), 3, 3))
    for axis in range(3):
        tensor[:, axis, axis] = trace - variance[:, axis]
    for column, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
        tensor[:, a, b] = tensor[:, b, a] = -covariance[:, column]
    low, middle, high = np.linalg.eigvalsh(tensor).clip(min=0).T
    return {
        "inertia_1_um2": high,
        "inertia_2_um2": middle,
        "inertia_3_um2": low,
        "axis_major_um": np.sqrt(10 * np.maximum(0, high + middle - low)),
        "axis_middle_um": np.sqrt(10 * np.maximum(0, high - middle + low)),
        "axis_minor_um": np.sqrt(10 * np.maximum(0, -high + middle + low)),
    }


def _covariance(
    regions: Regions, spacing: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances (zz, yy, xx) and covariances (zy, zx, yx) of voxel positions, in um2.

    Sums are moved to the bounding box's origin while they are integers; far from the volume's
    origin, floating point would lose the digits that matter.
    """
    n = regions.sums[:, [VOXELS]]
    origin, moments = regions.boxes[:, :3], regions.sums[:, MOMENTS]
    first, second = [0, 0, 1], [1, 2, 2]
    squares = regions.sums[:, SQUARES] - 2 * origin * moments + origin**2 * n
    crosses = (
        regions.sums[:, CROSS_MOMENTS]
        - origin[:, first] * moments[:, second]
        - origin[:, second] * moments[:, first]
        + origin[:, first] * origin[:, second] * n
    )
    mean = (moments - origin * n) / n
    scale = np.array(spacing.zyx)
    variance = (squares / n - mean**2) * scale**2
    covariance = (crosses / n - mean[:, first] * mean[:, second]) * scale[first] * scale[second]
    return variance, covariance


def material_columns(
    totals: Totals, shape: Index3, spacing: Spacing, materials: Materials
) -> Columns:
    """One row a material, in the order of the materials' table."""
    labels = np.array(materials.labels)
    voxels = totals.slices[:, :, 0].sum(axis=0)
    regions = totals.regions
    largest = np.zeros(256, np.int64)
    np.maximum.at(largest, regions.values, regions.sums[:, VOXELS])
    spans = np.zeros((256, 3), bool)
    through = (regions.boxes[:, :3] == 0) & (regions.boxes[:, 3:] == np.array(shape))
    np.logical_or.at(spans, regions.values, through)
    return {
        "material": np.array(materials.names, object),
        "label": labels,
        "voxels": voxels,
        "volume_um3": voxels * spacing.volume,
        "fraction": voxels / np.prod(shape),
        "surface_um2": crofton_surface(totals.cells, spacing),
        "regions": np.bincount(regions.values, minlength=256)[labels],
        "euler_number": euler_number(totals.cells),
        "largest_region_fraction": largest[labels] / np.where(voxels > 0, voxels, np.nan),
        **{f"percolates_{axis}": spans[labels, i] for i, axis in enumerate(_AXES)},
    }


def slice_columns(totals: Totals, spacing: Spacing, materials: Materials) -> Columns:
    """One row a slice and material. `perimeter_um` is empty where y and x spacing differ."""
    counts = totals.slices
    slices = np.repeat(np.arange(len(counts)), len(materials))
    area = counts[:, :, 0].ravel()
    length = perimeter(counts[:, :, 1:]).ravel()
    return {
        "z": slices,
        "z_um": slices * spacing.z,
        "material": np.tile(np.array(materials.names, object), len(counts)),
        "area_px": area,
        "area_um2": area * (spacing.y * spacing.x),
        "perimeter_px": length,
        "perimeter_um": length * (spacing.x if spacing.y == spacing.x else np.nan),
    }


def interface_columns(totals: Totals, spacing: Spacing, materials: Materials) -> Columns:
    """One row a pair of materials, in the order of the materials' table."""
    first, second = np.triu_indices(len(materials), 1)
    names = np.array(materials.names, object)
    faces = totals.faces[first, second]
    face_um2 = spacing.volume / np.array(spacing.zyx)
    return {
        "material_a": names[first],
        "material_b": names[second],
        **{f"faces_{axis}": faces[:, i] for i, axis in enumerate(_AXES)},
        "area_um2": faces @ face_um2,
    }
