"""Regions against scikit-image, in memory and whole: numbers, counts, moments, shapes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import label as skimage_label
from skimage.measure import regionprops, regionprops_table

from xctvol.materials import Materials
from xctvol.stages.measure.merge import Regions
from xctvol.stages.measure.properties import (
    interface_columns,
    material_columns,
    region_columns,
    slice_columns,
)
from xctvol.stages.measure.sums import VoxelSums, add_cells, add_voxels
from xctvol.stages.measure.surface import cell_table
from xctvol.units import Spacing

MATERIALS = Materials.numbered((1, 2, 3))
CONNECTIVITIES = (6, 18, 26)
ISOTROPIC = Spacing(1, 1, 1)
ANISOTROPIC = Spacing(2.5, 1.0, 0.7)


def reference(values, connectivity):
    return skimage_label(values, connectivity={6: 1, 18: 2, 26: 3}[connectivity], background=0)


def columns(totals, shape, spacing=ISOTROPIC):
    """Every column of every table."""
    return {
        "regions": region_columns(totals.regions, shape, spacing, MATERIALS),
        "materials": material_columns(totals, shape, spacing, MATERIALS),
        "slices": slice_columns(totals, spacing, MATERIALS),
        "interfaces": interface_columns(totals, spacing, MATERIALS),
    }


def assert_equal(got, want):
    """Every number of every table, exactly."""
    for table, expected in want.items():
        assert list(got[table]) == list(expected)
        for name, column in expected.items():
            np.testing.assert_array_equal(got[table][name], column, err_msg=f"{table}.{name}")


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_numbers_and_counts_are_those_of_scikit_image(measured, adversarial, connectivity):
    want = reference(adversarial, connectivity)
    regions = measured(adversarial, connectivity, block=(5, 4, 7)).regions
    _, first, voxels = np.unique(want[want > 0], return_index=True, return_counts=True)
    first = np.flatnonzero(want)[first]
    np.testing.assert_array_equal(regions.first, first)  # region i begins where label i does
    np.testing.assert_array_equal(regions.sums[:, 0], voxels)
    np.testing.assert_array_equal(regions.values, adversarial.ravel()[first])


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_properties_are_those_of_regionprops(measured, adversarial, connectivity):
    spacing = ANISOTROPIC
    want = reference(adversarial, connectivity)
    totals = measured(adversarial, connectivity, block=(6, 5, 8), spacing=spacing)
    got = region_columns(totals.regions, adversarial.shape, spacing, MATERIALS)
    names = ("bbox", "centroid", "euler_number", "inertia_tensor_eigvals", "area", "extent")
    names += ("axis_major_length", "axis_minor_length", "equivalent_diameter_area")
    table = regionprops_table(want, properties=names, spacing=spacing.zyx)
    np.testing.assert_array_equal(got["euler_number"], table["euler_number"])
    np.testing.assert_allclose(got["extent"], table["extent"], rtol=1e-12)
    np.testing.assert_allclose(got["volume_um3"], table["area"], rtol=1e-12)
    same = {"equivalent_diameter_um": "equivalent_diameter_area"}
    same |= {"axis_major_um": "axis_major_length"}
    for i, axis in enumerate("zyx"):
        np.testing.assert_array_equal(got[f"bbox_{axis}0"], table[f"bbox-{i}"])
        np.testing.assert_array_equal(got[f"bbox_{axis}1"], table[f"bbox-{i + 3}"])
        same |= {f"centroid_{axis}_um": f"centroid-{i}"}
        same |= {f"inertia_{i + 1}_um2": f"inertia_tensor_eigvals-{i}"}
    for mine, theirs in same.items():
        np.testing.assert_allclose(got[mine], table[theirs], rtol=1e-12, atol=1e-12)
    # the minor axis of a flat region is the root of a rounding error, here and there
    minor = table["axis_minor_length"]
    np.testing.assert_allclose(got["axis_minor_um"], minor, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=arrays.arrays(
        np.uint8,
        arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6),
        elements=st.integers(0, 3),
    ),
    block=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_tables_do_not_depend_on_blocks(measured, connectivity, values, block):
    whole = columns(measured(values, connectivity, spacing=ANISOTROPIC), values.shape, ANISOTROPIC)
    totals = measured(values, connectivity, block, ANISOTROPIC)
    assert_equal(columns(totals, values.shape, ANISOTROPIC), whole)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_hard_tables_do_not_depend_on_blocks(measured, adversarial, connectivity):
    whole = columns(measured(adversarial, connectivity), adversarial.shape)
    for block in ((1, 50, 50), (4, 6, 5)):
        totals = measured(adversarial, connectivity, block)
        assert_equal(columns(totals, adversarial.shape), whole)


def test_regions_of_one_material_are_those_of_scipy(measured):
    values = (np.random.default_rng(3).random((31, 33, 35)) < 0.35).astype(np.uint8)
    for connectivity, order in ((6, 1), (18, 2), (26, 3)):
        structure = ndimage.generate_binary_structure(3, order)
        want, count = ndimage.label(values, structure)
        regions = measured(values, connectivity, block=(16, 16, 16)).regions
        sizes = np.sort(np.bincount(want.ravel())[1:])
        assert len(regions) == count
        np.testing.assert_array_equal(np.sort(regions.sums[:, 0]), sizes)


def test_moments_far_from_the_origin_keep_their_digits():
    """The sums of a small region at voxel 8000 of a huge volume give its exact shape."""
    block = np.zeros((8, 8, 8), np.uint32)
    block[2:5, 2:4, 2:6] = 1
    origin, shape = np.array([8000, 2500, 2500]), np.array([8192, 2560, 2560])
    found = VoxelSums.empty(1)
    add_voxels(block, origin, shape, *found)
    add_cells(block, np.zeros(3, int), cell_table(ISOTROPIC), found.sums)
    regions = Regions(np.uint8([1]), found.sums[1:], found.boxes[1:], found.first[1:])
    got = region_columns(regions, tuple(shape), ISOTROPIC, MATERIALS)
    want = regionprops(block.astype(int))[0]
    eigenvalues = [got[f"inertia_{i}_um2"][0] for i in (1, 2, 3)]
    np.testing.assert_allclose(eigenvalues, want.inertia_tensor_eigvals, rtol=1e-12)


def test_materials_sum_up_their_regions(measured):
    values = np.zeros((10, 10, 10), np.uint8)
    values[:, 2:4, 2:4] = 1  # a column through all slices
    values[0, 8, 8] = 1
    values[5:7, 6:9, 6:9] = 3
    got = material_columns(measured(values), values.shape, Spacing(2, 1, 1), MATERIALS)
    assert got["voxels"].tolist() == [41, 0, 18]
    assert got["volume_um3"].tolist() == [82, 0, 36]
    assert got["fraction"].tolist() == [0.041, 0, 0.018]
    assert got["regions"].tolist() == [2, 0, 1]
    assert got["euler_number"].tolist() == [2, 0, 1]
    np.testing.assert_array_equal(got["largest_region_fraction"], [40 / 41, np.nan, 1])
    assert got["percolates_z"].tolist() == [True, False, False]
    assert not got["percolates_y"].any()
    assert not got["percolates_x"].any()


def test_border_is_touched_by_what_lies_at_a_face(measured):
    values = np.zeros((6, 6, 6), np.uint8)
    values[0, 3, 3] = values[3, 5, 3] = values[2, 2, 2] = 1
    totals = measured(values, block=(3, 3, 3))
    got = region_columns(totals.regions, values.shape, ISOTROPIC, MATERIALS)
    assert got["touches_border"].tolist() == [True, False, True]
