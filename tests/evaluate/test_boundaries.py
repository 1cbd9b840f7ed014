"""Boundaries against distances by scipy, and F1 by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from hypothesis.strategies import integers
from scipy.ndimage import binary_erosion, distance_transform_edt

from xctvol.stages.evaluate.boundaries import boundary_counts, boundary_f1

K = 3
maps = npst.arrays(np.uint8, (9, 11), elements=integers(0, K - 1))
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def by_scipy(annotated, predicted, k):
    known = annotated < K
    edges = []
    for which in (predicted, annotated):
        others = known & (which != k)  # what may be eroded away to: all but other materials
        edges.append((which == k) & known & ~binary_erosion(~others, CROSS, border_value=1))
    counts = []
    for edge, other in (edges, edges[::-1]):
        far = distance_transform_edt(~other) if other.any() else np.full(other.shape, np.inf)
        counts += [edge.sum(), (edge & (far <= 2)).sum()]
    return counts


@given(annotated=maps, predicted=maps, ignored=npst.arrays(bool, (9, 11)))
def test_counts_equal_those_by_distances(annotated, predicted, ignored):
    seen = np.where(ignored, 255, annotated).astype(np.uint8)
    expected = [by_scipy(seen, predicted, k) for k in range(K)]
    assert boundary_counts(seen, predicted, K).tolist() == expected


@pytest.mark.parametrize(("shift", "f1"), [(0, 1.0), (2, 1.0), (3, 0.5), (5, 0.0)])
def test_a_stripe_may_be_two_pixels_off(shift, f1):
    """Its edges are two columns apart, so that one still meets the other when shifted by three."""
    annotated, predicted = np.zeros((2, 20, 30), np.uint8)
    annotated[:, 10:12] = 1
    predicted[:, 10 + shift : 12 + shift] = 1
    found = boundary_f1(boundary_counts(annotated, predicted, 2))
    assert found[1] == pytest.approx(f1)


def test_what_is_absent_counts_neither_way():
    counts = np.array([[0, 0, 0, 0], [5, 0, 0, 0], [0, 0, 5, 0], [4, 2, 6, 3]])
    np.testing.assert_allclose(boundary_f1(counts), [np.nan, 0, 0, 0.5])


def test_the_border_of_the_image_is_no_boundary():
    whole = np.ones((6, 6), np.uint8)
    assert not boundary_counts(whole, whole, 2).any()
