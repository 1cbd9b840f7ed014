"""Surfaces and Euler numbers against scikit-image, SimpleITK and geometry."""

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import euler_number, label, marching_cubes, mesh_surface_area

from xctvol.materials import Materials
from xctvol.stages.measure.properties import material_columns, region_columns
from xctvol.units import Spacing

MATERIALS = Materials.numbered((1, 2, 3))
SPACINGS = [Spacing(0.65, 0.65, 0.65), Spacing(2.5, 1.0, 0.7)]
PARTS = (5, 4, 7)


def blobs(shape=(20, 22, 18), seed=5):
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return np.digitize(noise, np.quantile(noise, [0.4, 0.6, 0.8])).astype(np.uint8)


def skimage_area(mask, spacing):
    vertices, triangles, _, _ = marching_cubes(
        np.pad(mask, 1).astype(np.float32), 0.5, spacing=spacing.zyx
    )
    return mesh_surface_area(vertices, triangles)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_marching_cubes_area_of_each_region(measured, spacing, connectivity):
    values = blobs()
    found = measured(values, connectivity, (10, 9, 11), spacing)
    got = region_columns(found.rows, 1, values.shape, spacing, MATERIALS)["surface_mc_um2"]
    want = label(values, connectivity={6: 1, 18: 2, 26: 3}[connectivity])
    for number in range(1, want.max() + 1):
        area = skimage_area(want == number, spacing)
        assert got[number - 1] == pytest.approx(area, rel=1e-6)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_material_is_measured_as_one_object(measured, adversarial, connectivity):
    got = material_columns(
        measured(adversarial, connectivity, PARTS, SPACINGS[1]).totals,
        adversarial.shape,
        SPACINGS[1],
        MATERIALS,
        MATERIALS.names,
    )
    for row, value in enumerate((1, 2, 3)):
        mask = np.pad(adversarial == value, 1)
        assert got["euler_number"][row] == euler_number(mask, 3)


@pytest.mark.parametrize("step", [1.0, 0.65])
def test_crofton_surface_is_that_of_simpleitk(measured, step):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is the oracle of Crofton surfaces")
    values, spacing = blobs(), Spacing(step, step, step)
    found = measured(values, 26, (9, 11, 10), spacing)
    got = region_columns(found.rows, 1, values.shape, spacing, MATERIALS)["surface_um2"]
    want = np.pad(label(values, connectivity=3), 1)
    image = sitk.GetImageFromArray(want.astype(np.uint32))
    image.SetSpacing((step, step, step))
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(image)
    areas = [statistics.GetPerimeter(n) for n in range(1, want.max() + 1)]
    np.testing.assert_allclose(got, areas, rtol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_ball_has_the_surface_of_a_ball(measured, spacing):
    radius = 14.0
    axes = [np.arange(-radius - 3 * s, radius + 3 * s, s) for s in spacing.zyx]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    ball = (z**2 + y**2 + x**2 <= radius**2).astype(np.uint8)
    found = measured(ball, block=(20, 20, 20), spacing=spacing)
    got = region_columns(found.rows, 1, ball.shape, spacing, MATERIALS)
    assert got["surface_um2"][0] == pytest.approx(4 * np.pi * radius**2, rel=0.01)
    assert got["sphericity"][0] == pytest.approx(1, rel=0.01)


def test_euler_number_counts_tunnels_and_cavities(measured):
    values = np.zeros((9, 9, 20), np.uint8)
    values[1:8, 1:8, 1:4] = 1
    values[4, 4, 1:4] = 0  # a ring: one object, one tunnel
    values[1:8, 1:8, 8:15] = 1
    values[4, 4, 11] = 0  # a shell: one object, one cavity
    found = measured(values, block=(5, 5, 5))
    got = region_columns(found.rows, 1, values.shape, Spacing(1, 1, 1), MATERIALS)
    assert got["euler_number"].tolist() == [0, 2]


@pytest.mark.parametrize("connectivity", [6, 26])
def test_connectivity_is_corrected_for_edges(measured, adversarial, connectivity):
    """By the Euler numbers of the volume's faces, edges and corners, after Odgaard and Gundersen.

    The faces' count by halves, since a neighbouring volume would have them as well.
    """
    spacing = SPACINGS[1]
    totals = measured(adversarial, connectivity, PARTS, spacing).totals
    got = material_columns(totals, adversarial.shape, spacing, MATERIALS, MATERIALS.names)
    volume = adversarial.size * spacing.volume
    for row, value in enumerate((1, 2, 3)):
        mask = adversarial == value
        corrected = 0.0
        for sides in product((slice(None), 0, -1), repeat=3):
            part = mask[sides]
            corners = 3 - part.ndim
            corrected += (-0.5) ** corners * _euler(part)
        want = (1 - corrected) / volume if mask.any() else np.nan
        found = got["connectivity_density_per_um3"][row]
        assert found == pytest.approx(want, rel=1e-12, nan_ok=True)


def _euler(mask):
    if mask.ndim == 0:
        return int(mask)
    if mask.ndim == 1:
        return label(mask).max()
    return euler_number(np.pad(mask, 1), mask.ndim)
