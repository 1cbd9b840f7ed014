"""From exact integer sums to the columns of the tables, in micrometres.

Lengths, areas and volumes are computed once for the whole volume, from integers: equal inputs give
equal bytes, however the volume was divided.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Index3
from xctvol.materials import Materials
from xctvol.stages.measure.block import GREYS
from xctvol.stages.measure.cells import INNER_EULER
from xctvol.stages.measure.columns import (
    BOX_HIGH,
    BOX_LOW,
    CELLS,
    CROSS_MOMENTS,
    GREY_MAX,
    GREY_MIN,
    GREY_SQUARES,
    GREY_SUM,
    MOMENTS,
    SQUARES,
    VALUE,
    VOXELS,
    WIDTH,
    Rows,
)
from xctvol.stages.measure.merge import LARGEST, REGIONS, SPANNING
from xctvol.stages.measure.perimeters import perimeter
from xctvol.stages.measure.surface import (
    crofton_interface,
    crofton_surface,
    euler_number,
    marching_cubes_surface,
)
from xctvol.stages.measure.totals import Totals
from xctvol.units import Spacing

__all__ = ["Columns", "interface_columns", "material_columns", "region_columns", "slice_columns"]

Columns = dict[str, NDArray[Any]]
_AXES = ("z", "y", "x")


def region_columns(
    rows: Rows, number: int, shape: Index3, spacing: Spacing, materials: Materials
) -> Columns:
    """One row a region, numbered from `number`; names and order of the columns of regions.parquet.

    Grey columns are there where grey values were measured.
    """
    voxels = rows[:, VOXELS]
    volume = voxels * spacing.volume
    centroid = rows[:, MOMENTS] / np.maximum(voxels, 1)[:, None]
    low, high = rows[:, BOX_LOW], rows[:, BOX_HIGH]
    cells = rows[:, CELLS]
    surface = crofton_surface(cells, spacing)
    names = np.full(256, "", object)
    names[list(materials.labels)] = materials.names
    at_low, at_high = low == 0, high == np.array(shape)
    return {
        "label": np.arange(number, number + len(rows)),
        "material": names[rows[:, VALUE]],
        "voxels": voxels,
        "volume_um3": volume,
        **{f"bbox_{axis}0": low[:, i] for i, axis in enumerate(_AXES)},
        **{f"bbox_{axis}1": high[:, i] for i, axis in enumerate(_AXES)},
        **{f"centroid_{axis}": centroid[:, i] for i, axis in enumerate(_AXES)},
        **{f"centroid_{a}_um": centroid[:, i] * spacing.zyx[i] for i, a in enumerate(_AXES)},
        **_shape_columns(rows, spacing),
        "equivalent_diameter_um": np.cbrt(6 * volume / np.pi),
        "extent": voxels / np.prod(high - low, axis=1),
        "euler_number": euler_number(cells),
        "surface_um2": surface,
        "surface_mc_um2": marching_cubes_surface(cells, spacing),
        "sphericity": np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / surface,
        "touches_border": (at_low | at_high).any(axis=1),
        **{f"touches_{axis}0": at_low[:, i] for i, axis in enumerate(_AXES)},
        **{f"touches_{axis}1": at_high[:, i] for i, axis in enumerate(_AXES)},
        **(_grey_columns(rows) if rows.shape[1] > WIDTH else {}),
    }


def _shape_columns(rows: Rows, spacing: Spacing) -> Columns:
    """Principal moments of inertia per voxel, and axes of the ellipsoid that has them."""
    moments, vectors = np.zeros((len(rows), 3)), np.zeros((len(rows), 3, 3))
    vectors[:] = np.eye(3)
    # one voxel has no moments, and most regions of noise are one
    several = np.flatnonzero(rows[:, VOXELS] > 1)
    tensors = _inertia(rows[several], spacing)
    known = np.isfinite(tensors).all(axis=(1, 2))
    moments[several], vectors[several] = np.nan, np.nan
    moments[several[known]], vectors[several[known]] = np.linalg.eigh(tensors[known])
    low, middle, high = moments.clip(min=0).T
    direction = _positive(vectors[:, :, 0])  # around the long axis there is the least inertia
    return {
        "inertia_1_um2": high,
        "inertia_2_um2": middle,
        "inertia_3_um2": low,
        "axis_major_um": np.sqrt(10 * np.maximum(0, high + middle - low)),
        "axis_middle_um": np.sqrt(10 * np.maximum(0, high - middle + low)),
        "axis_minor_um": np.sqrt(10 * np.maximum(0, -high + middle + low)),
        **{f"orientation_{axis}": direction[:, i] for i, axis in enumerate(_AXES)},
    }


def _inertia(rows: Rows, spacing: Spacing) -> NDArray[np.float64]:
    """Tensors of inertia per voxel, (n, 3, 3), in um2."""
    variance, covariance = _covariance(rows, spacing)
    trace = variance.sum(axis=1)
    tensor = np.empty((len(rows), 3, 3))
    for axis in range(3):
        tensor[:, axis, axis] = trace - variance[:, axis]
    for column, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
        tensor[:, a, b] = tensor[:, b, a] = -covariance[:, column]
    return tensor


def _positive(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (n, 3) turned round where their longest component is negative."""
    longest = np.abs(direction).argmax(axis=1)[:, None]
    return direction * np.where(np.take_along_axis(direction, longest, axis=1) < 0, -1, 1)


def _covariance(rows: Rows, spacing: Spacing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances (zz, yy, xx) and covariances (zy, zx, yx) of voxel positions, in um2.

    Sums are moved to the voxel nearest to the mean while they are integers; far from it, floating
    point would lose the digits that matter. They are modulo 2**64: exact, however large those of
    the whole volume, as long as what is left is below that. Where it may not be, which takes a
    region of 10^12 voxels or so, there is no number (NaN).
    """
    n = rows[:, [VOXELS]]
    moments = rows[:, MOMENTS]
    near = moments // n
    first, second = [0, 0, 1], [1, 2, 2]
    squares = rows[:, SQUARES] - 2 * near * moments + near**2 * n
    crosses = (
        rows[:, CROSS_MOMENTS]
        - near[:, first] * moments[:, second]
        - near[:, second] * moments[:, first]
        + near[:, first] * near[:, second] * n
    )
    mean = (moments - near * n) / n
    scale, half = np.array(spacing.zyx), (rows[:, BOX_HIGH] - rows[:, BOX_LOW]) / 2
    variance = (squares.view(np.uint64) / n - mean**2) * scale**2
    variance[n * half**2 >= 2.0**64] = np.nan
    covariance = (crosses / n - mean[:, first] * mean[:, second]) * scale[first] * scale[second]
    covariance[n * half[:, first] * half[:, second] >= 2.0**63] = np.nan
    return variance, covariance


def _grey_columns(rows: Rows) -> Columns:
    """Mean, population standard deviation and range of grey values.

    Squares are taken around the whole mean, modulo 2**64: the result is exact as long as it is
    below that, for grey values of 16 bits at least up to 2**34 voxels a region.
    """
    n, total = rows[:, VOXELS], rows[:, GREY_SUM]
    near = total // n
    around = rows[:, GREY_SQUARES] - near * (2 * total - n * near)
    rest = (total - n * near) / n
    variance = around.view(np.uint64) / n - rest**2
    return {
        "intensity_mean": total / n,
        "intensity_std": np.sqrt(variance.clip(min=0)),
        "intensity_min": rows[:, GREY_MIN],
        "intensity_max": rows[:, GREY_MAX],
    }


def material_columns(
    totals: Totals, shape: Index3, spacing: Spacing, materials: Materials, tissue: Sequence[str]
) -> Columns:
    """One row a material, in the order of the materials' table.

    `tissue` names the materials whose volume together the others are compared to.
    """
    voxels = totals.slices[:, :, 0].sum(axis=0)
    whole = np.prod(shape, dtype=np.int64)
    tissue_voxels = voxels[[name in tissue for name in materials.names]].sum()
    some_tissue = tissue_voxels if tissue_voxels > 0 else np.nan
    some = np.where(voxels > 0, voxels, np.nan)
    cells, census = totals.materials[:, :INNER_EULER], totals.census
    surface, greys = crofton_surface(cells, spacing), totals.materials[:, GREYS]
    inner = totals.materials[:, INNER_EULER] / 8
    return {
        "material": np.array(materials.names, object),
        "label": np.array(materials.labels),
        "voxels": voxels,
        "volume_um3": voxels * spacing.volume,
        "fraction": voxels / whole,
        "tissue_fraction": voxels / some_tissue,
        "surface_um2": surface,
        "surface_density_per_um": surface / (some_tissue * spacing.volume),
        "regions": census[:, REGIONS],
        "largest_region_fraction": census[:, LARGEST] / some,
        **{
            f"percolating_fraction_{axis}": census[:, SPANNING][:, i] / some
            for i, axis in enumerate(_AXES)
        },
        "euler_number": euler_number(cells),
        "connectivity_density_per_um3": np.where(
            voxels > 0, (1 - inner) / (whole * spacing.volume), np.nan
        ),
        **({"intensity_mean": greys / some} if totals.joined.shape[1] > WIDTH else {}),
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
    contacts = totals.contacts[first, second]
    faces = contacts[:, 2::-1]  # directions begin with x
    across_z, across_y, across_x = (spacing.volume / size for size in spacing.zyx)
    return {
        "material_a": names[first],
        "material_b": names[second],
        **{f"faces_{axis}": faces[:, i] for i, axis in enumerate(_AXES)},
        "face_area_um2": faces[:, 0] * across_z + faces[:, 1] * across_y + faces[:, 2] * across_x,
        "surface_um2": crofton_interface(contacts, spacing),
    }
