"""Slices and interfaces against scikit-image and plain numpy."""

import numpy as np
import pytest
from skimage.measure import label, perimeter, regionprops_table

from xctvol.materials import Materials
from xctvol.stages.measure.properties import (
    interface_columns,
    material_columns,
    slice_columns,
)
from xctvol.units import Spacing

MATERIALS = Materials.numbered((1, 2, 3))
SPACING = Spacing(2.5, 1.0, 0.7)
PARTS = (5, 4, 7)


def test_perimeter_is_that_of_the_slices_regions(measured, adversarial):
    totals = measured(adversarial, 26, PARTS, SPACING).totals
    got = slice_columns(totals, Spacing(1, 1, 1), MATERIALS)
    row = 0
    for image in adversarial:
        for value in (1, 2, 3):
            regions = label(image == value)
            table = regionprops_table(regions, properties=("area", "perimeter"))
            assert got["area_px"][row] == table["area"].sum()
            assert got["perimeter_px"][row] == pytest.approx(table["perimeter"].sum(), rel=1e-12)
            assert got["perimeter_px"][row] == pytest.approx(perimeter(image == value), rel=1e-12)
            row += 1
    assert row == len(got["z"])


def test_slices_are_in_micrometres(measured):
    values = np.zeros((2, 8, 8), np.uint8)
    values[1, 2:6, 2:6] = 2
    got = slice_columns(measured(values).totals, Spacing(3, 0.5, 0.5), MATERIALS)
    assert got["z_um"].tolist() == [0, 0, 0, 3, 3, 3]
    assert got["material"].tolist() == ["label 1", "label 2", "label 3"] * 2
    assert got["area_um2"].tolist() == [0, 0, 0, 0, 4, 0]
    assert got["perimeter_um"].tolist() == [0, 0, 0, 0, 6, 0]


def test_perimeter_of_oblong_pixels_is_left_empty(measured):
    values = np.ones((1, 5, 5), np.uint8)
    got = slice_columns(measured(values).totals, Spacing(1, 1, 0.7), MATERIALS)
    assert np.isnan(got["perimeter_um"]).all()
    assert got["perimeter_px"][0] == perimeter(values[0])


def test_interfaces_count_the_faces_between_two_materials(measured, adversarial):
    spacing = SPACING
    totals = measured(adversarial, 26, PARTS, spacing).totals
    got = interface_columns(totals, spacing, MATERIALS)
    pairs = [(1, 2), (1, 3), (2, 3)]
    assert len(got["face_area_um2"]) == len(pairs)
    for row, (a, b) in enumerate(pairs):
        counts = []
        for axis in range(3):
            low = np.moveaxis(adversarial, axis, 0)[:-1]
            high = np.moveaxis(adversarial, axis, 0)[1:]
            counts.append(int(((low == a) & (high == b) | (low == b) & (high == a)).sum()))
        assert [got[f"faces_{axis}"][row] for axis in "zyx"] == counts
        area = counts[0] * 1.0 * 0.7 + counts[1] * 2.5 * 0.7 + counts[2] * 2.5 * 1.0
        assert got["face_area_um2"][row] == pytest.approx(area, rel=1e-12)


def test_crofton_interface_is_what_two_materials_share(measured, adversarial):
    """(S_a + S_b - S_ab) / 2, with the surface of both together measured as one material."""
    spacing = SPACING

    def surface(values):
        totals = measured(values.astype(np.uint8), 26, PARTS, spacing).totals
        return material_columns(totals, values.shape, spacing, MATERIALS, MATERIALS.names)[
            "surface_um2"
        ]

    totals = measured(adversarial, 26, PARTS, spacing).totals
    got = interface_columns(totals, spacing, MATERIALS)["surface_um2"]
    each = surface(adversarial)
    for row, (a, b) in enumerate([(1, 2), (1, 3), (2, 3)]):
        both = surface(np.isin(adversarial, (a, b)))[0]
        want = (each[a - 1] + each[b - 1] - both) / 2
        assert got[row] == pytest.approx(want, rel=1e-12, abs=1e-9)
