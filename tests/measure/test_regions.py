"""Regions against scikit-image, in memory and whole: numbers, counts, moments, shapes."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import label as skimage_label
from skimage.measure import regionprops, regionprops_table

from xctvol.materials import Materials
from xctvol.stages.measure.cells import add_cells, packed
from xctvol.stages.measure.columns import (
    BOX_HIGH,
    BOX_LOW,
    CELLS,
    CROSS_MOMENTS,
    FIRST,
    GREY_SQUARES,
    GREY_SUM,
    MOMENTS,
    SQUARES,
    VALUE,
    VOXELS,
    WIDTH,
    WIDTH_WITH_GREYS,
    empty_rows,
)
from xctvol.stages.measure.labelling import label_block
from xctvol.stages.measure.properties import (
    interface_columns,
    material_columns,
    region_columns,
    slice_columns,
)
from xctvol.stages.measure.runs import add_voxels
from xctvol.stages.measure.surface import cell_table
from xctvol.units import Spacing

GIANTS = [(8000, 2560, 2560), (16000, 4000, 4000), (8000, 8000, 8000)]  # (z, y, x)


def solid(shape):
    """The row of a region that fills a volume, its sums modulo 2**64 as int64 adds them up."""
    first, second = ([sum(k**p for k in range(n)) for n in shape] for p in (1, 2))
    n = math.prod(shape)
    row = empty_rows(1, WIDTH)
    row[0, VOXELS] = n
    row[0, MOMENTS] = [s * n // length for s, length in zip(first, shape, strict=True)]
    squares = [s * n // length for s, length in zip(second, shape, strict=True)]
    crosses = [
        first[a] * first[b] * n // (shape[a] * shape[b]) for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    wrapped = np.array([s % 2**64 for s in (*squares, *crosses)], np.uint64).view(np.int64)
    row[0, SQUARES], row[0, CROSS_MOMENTS] = wrapped[:3], wrapped[3:]
    row[0, BOX_LOW], row[0, BOX_HIGH] = 0, shape
    row[0, FIRST], row[0, VALUE] = 0, 1
    row[0, CELLS] = 1  # a surface of any size
    return row


@pytest.mark.parametrize("shape", GIANTS)
def test_sums_of_giants_that_no_longer_fit_give_their_inertia(shape):
    columns = region_columns(solid(shape), 1, shape, Spacing(1, 1, 1), Materials.numbered((1,)))
    z, y, x = ((length**2 - 1) / 12 for length in shape)
    wanted = sorted((z + y, z + x, y + x), reverse=True)
    found = [columns[f"inertia_{number}_um2"][0] for number in (1, 2, 3)]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_what_is_too_large_for_exact_sums_has_no_inertia():
    shape = (20000, 20000, 20000)
    columns = region_columns(solid(shape), 1, shape, Spacing(1, 1, 1), Materials.numbered((1,)))
    assert np.isnan([columns["inertia_1_um2"][0], columns["axis_major_um"][0]]).all()
    assert columns["voxels"][0] == 8 * 10**12


MATERIALS = Materials.numbered((1, 2, 3))
CONNECTIVITIES = (6, 18, 26)
ISOTROPIC = Spacing(1, 1, 1)
ANISOTROPIC = Spacing(2.5, 1.0, 0.7)
PARTS = (5, 4, 7)


def reference(values, connectivity):
    return skimage_label(values, connectivity={6: 1, 18: 2, 26: 3}[connectivity], background=0)


def columns(found, shape, spacing=ISOTROPIC):
    """Every column of every table."""
    totals = found.totals
    return {
        "regions": region_columns(found.rows, 1, shape, spacing, MATERIALS),
        "materials": material_columns(totals, shape, spacing, MATERIALS, MATERIALS.names),
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
    rows = measured(adversarial, connectivity, PARTS, ANISOTROPIC).rows
    _, first, voxels = np.unique(want[want > 0], return_index=True, return_counts=True)
    first = np.flatnonzero(want)[first]
    np.testing.assert_array_equal(rows[:, FIRST], first)  # region i begins where label i does
    np.testing.assert_array_equal(rows[:, VOXELS], voxels)
    np.testing.assert_array_equal(rows[:, VALUE], adversarial.ravel()[first])


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@settings(max_examples=50, deadline=None)
@given(
    values=arrays.arrays(
        np.uint8,
        st.tuples(st.integers(2, 4), st.integers(2, 5), st.integers(2, 20)),
        elements=st.integers(0, 2),
    )
)
def test_labels_of_a_block_are_those_of_scikit_image(connectivity, values):
    want = reference(values, connectivity)
    labels, count = label_block(values, connectivity)
    np.testing.assert_array_equal(labels, want)
    assert count == want.max()


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_properties_are_those_of_regionprops(measured, adversarial, connectivity):
    spacing = ANISOTROPIC
    want = reference(adversarial, connectivity)
    found = measured(adversarial, connectivity, PARTS, spacing)
    got = region_columns(found.rows, 1, adversarial.shape, spacing, MATERIALS)
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
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
    found = measured(values, connectivity, block, ANISOTROPIC)
    assert_equal(columns(found, values.shape, ANISOTROPIC), whole)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_hard_tables_do_not_depend_on_blocks(measured, adversarial, connectivity):
    shape, spacing = adversarial.shape, ANISOTROPIC
    whole = measured(adversarial, connectivity, spacing=spacing)
    for block in ((1, 50, 50), PARTS):
        found = measured(adversarial, connectivity, block, spacing)
        assert_equal(columns(found, shape, spacing), columns(whole, shape, spacing))


def test_regions_of_one_material_are_those_of_scipy(measured):
    values = (np.random.default_rng(3).random((31, 33, 35)) < 0.35).astype(np.uint8)
    for connectivity, order in ((6, 1), (18, 2), (26, 3)):
        structure = ndimage.generate_binary_structure(3, order)
        want, count = ndimage.label(values, structure)
        rows = measured(values, connectivity, block=(16, 16, 16)).rows
        sizes = np.sort(np.bincount(want.ravel())[1:])
        assert len(rows) == count
        np.testing.assert_array_equal(np.sort(rows[:, VOXELS]), sizes)


def test_moments_far_from_the_origin_keep_their_digits():
    """The sums of a small region at voxel 8000 of a huge volume give its exact shape."""
    block = np.zeros((8, 8, 8), np.uint8)
    block[2:5, 2:4, 2:6] = 1
    labels, rows = block.astype(np.uint32), empty_rows(2, WIDTH)
    origin, shape = np.array([8000, 2500, 2500]), np.array([8192, 2560, 2560])
    add_voxels(block, labels, origin, shape, rows, np.zeros((6, 256), np.int64))
    inner, table = np.zeros((2, 3), np.int64), packed(cell_table(ISOTROPIC))
    add_cells(block, labels, inner, np.uint8([1]), table, True, rows, np.zeros((256, 10), np.int64))
    got = region_columns(rows[1:], 1, tuple(shape), ISOTROPIC, MATERIALS)
    want = regionprops(block.astype(int))[0]
    eigenvalues = [got[f"inertia_{i}_um2"][0] for i in (1, 2, 3)]
    np.testing.assert_allclose(eigenvalues, want.inertia_tensor_eigvals, rtol=1e-12)


def test_materials_sum_up_their_regions(measured):
    values = np.zeros((10, 10, 10), np.uint8)
    values[:, 2:4, 2:4] = 1  # a column through all slices
    values[0, 8, 8] = 1
    values[5:7, 6:9, 6:9] = 3
    totals = measured(values).totals
    got = material_columns(totals, values.shape, Spacing(2, 1, 1), MATERIALS, ["label 1"])
    assert got["voxels"].tolist() == [41, 0, 18]
    assert got["volume_um3"].tolist() == [82, 0, 36]
    assert got["fraction"].tolist() == [0.041, 0, 0.018]
    assert got["regions"].tolist() == [2, 0, 1]
    assert got["euler_number"].tolist() == [2, 0, 1]
    np.testing.assert_array_equal(got["largest_region_fraction"], [40 / 41, np.nan, 1])
    np.testing.assert_array_equal(got["percolating_fraction_z"], [40 / 41, np.nan, 0])
    np.testing.assert_array_equal(got["percolating_fraction_x"], [0, np.nan, 0])
    assert got["tissue_fraction"].tolist() == [1, 0, 18 / 41]
    np.testing.assert_array_equal(got["surface_density_per_um"], got["surface_um2"] / 82)


def test_border_is_touched_by_what_lies_at_a_face(measured):
    values = np.zeros((6, 6, 6), np.uint8)
    values[0, 3, 3] = values[3, 5, 3] = values[2, 2, 2] = 1
    found = measured(values, block=(3, 3, 3))
    got = region_columns(found.rows, 1, values.shape, ISOTROPIC, MATERIALS)
    assert got["touches_border"].tolist() == [True, False, True]
    assert got["touches_z0"].tolist() == [True, False, False]
    assert got["touches_y1"].tolist() == [False, False, True]
    assert not got["touches_x0"].any()


def test_orientation_is_that_of_the_long_axis(measured):
    values = np.zeros((24, 24, 24), np.uint8)
    line = np.arange(20)
    values[line, 2 + line // 2, 22 - line] = 1
    values[20:22, 2:20, 1:3] = 2
    spacing = Spacing(2, 1, 0.5)
    got = region_columns(measured(values).rows, 1, values.shape, spacing, MATERIALS)
    for row, value in enumerate((1, 2)):
        points = np.argwhere(values == value) * spacing.zyx
        axis = np.linalg.svd(points - points.mean(axis=0))[2][0]
        axis *= np.sign(axis[np.abs(axis).argmax()])
        mine = [got[f"orientation_{name}"][row] for name in "zyx"]
        np.testing.assert_allclose(mine, axis, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_grey_values_are_those_of_regionprops(measured, dtype):
    random = np.random.default_rng(2)
    values = random.choice(np.uint8([0, 1, 2]), (14, 15, 16), p=[0.7, 0.2, 0.1])
    limits = np.iinfo(dtype)
    greys = random.integers(limits.min, limits.max, values.shape, dtype, endpoint=True)
    found = measured(values, 26, (5, 6, 7), greys=greys)
    got = region_columns(found.rows, 1, values.shape, ISOTROPIC, MATERIALS)
    names = ("intensity_mean", "intensity_std", "intensity_min", "intensity_max")
    table = regionprops_table(reference(values, 26), greys.astype(float), properties=names)
    for name in names:
        np.testing.assert_allclose(got[name], table[name], rtol=1e-12, atol=1e-9)
    whole = measured(values, 26, greys=greys)
    assert_equal(columns(found, values.shape), columns(whole, values.shape))
    means = material_columns(found.totals, values.shape, ISOTROPIC, MATERIALS, ["label 1"])
    want = [greys[values == value].mean() for value in (1, 2)]
    np.testing.assert_allclose(means["intensity_mean"], [*want, np.nan], rtol=1e-12)


def test_a_region_of_one_grey_value_has_no_deviation():
    """Also where sums of squares are beyond 64 bits."""
    rows = empty_rows(1, WIDTH_WITH_GREYS)
    n, grey = 1 << 33, 65535
    rows[0, VOXELS], rows[0, GREY_SUM] = n, n * grey
    rows[0, GREY_SQUARES] = np.uint64(n * grey * grey % 2**64).view(np.int64)
    rows[0, BOX_LOW], rows[0, BOX_HIGH], rows[0, CELLS] = 0, 2048, 1
    got = region_columns(rows, 1, (4096, 4096, 4096), ISOTROPIC, MATERIALS)
    assert got["intensity_mean"][0] == grey
    assert got["intensity_std"][0] == 0
