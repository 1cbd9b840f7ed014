"""Which pixels an outline encloses: by scikit-image, and by ImageJ's rule for the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from xctvol.annotations.outlines import fill, oval, rectangle

SIZE = (23, 31)
seeds = st.integers(0, 2**32 - 1)


def drawn(patch, size=SIZE):
    indices = np.zeros(size, np.uint8)
    patch.paint(indices, 1)
    return indices.astype(bool)


def by_scikit_image(ring, size=SIZE):
    """scikit-image counts from pixel centres, ImageJ from corners."""
    return polygon2mask(size, ring[:, ::-1] - 0.5)


@given(seed=seeds, corners=st.integers(3, 12))
def test_polygons_that_cross_themselves_and_the_border(seed, corners):
    ring = np.random.default_rng(seed).uniform(-10, 40, (corners, 2))
    assert np.array_equal(drawn(fill([ring], SIZE)), by_scikit_image(ring))


@given(seed=seeds)
def test_a_ring_within_a_ring_is_a_hole(seed):
    rings = np.random.default_rng(seed).uniform(0, 30, (3, 5, 2))
    expected = np.logical_xor.reduce([by_scikit_image(ring) for ring in rings])
    assert np.array_equal(drawn(fill(rings, SIZE)), expected)


@given(seed=seeds)
def test_shapes_that_share_edges_tile(seed):
    """Corners on whole and half numbers: many centres lie exactly on the edges."""
    rng = np.random.default_rng(seed)
    center = rng.integers(1, 40, 2) / 2
    corners = np.array([(0, 0), (20, 0), (20, 20), (0, 20)], float)
    times = np.zeros((20, 20), int)
    for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        times += drawn(fill([np.array([first, second, center])], (20, 20)), (20, 20))
    assert (times == 1).all()


def test_centers_on_an_edge_are_inside_on_its_right_and_upper_sides():
    square = np.array([(1.5, 1.5), (4.5, 1.5), (4.5, 3.5), (1.5, 3.5)])
    found = np.argwhere(drawn(fill([square], SIZE))).tolist()
    assert found == [[y, x] for y in (1, 2) for x in (2, 3, 4)]


def test_whole_numbers_enclose_whole_pixels():
    ring = np.array([(2, 3), (7, 3), (7, 5), (2, 5)], float)
    assert np.array_equal(drawn(fill([ring], SIZE)), drawn(rectangle((2, 3, 7, 5), SIZE)))
    assert drawn(rectangle((2, 3, 7, 5), SIZE)).sum() == 10


@pytest.mark.parametrize("box", [(3, 4, 20, 11), (-4, -3, 9, 9), (0, 0, 1, 1), (25, 18, 40, 30)])
def test_ovals_hold_the_centers_within_the_ellipse(box):
    left, top, right, bottom = box
    expected = np.zeros(SIZE, bool)
    for y, x in np.ndindex(SIZE):
        across = (x + 0.5 - (left + right) / 2) / ((right - left) / 2)
        down = (y + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
        expected[y, x] = across**2 + down**2 <= 1
    assert np.array_equal(drawn(oval(box, SIZE)), expected)


def test_the_memory_of_a_huge_outline_is_that_of_the_slice():
    ring = np.array([(-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)])
    patch = fill([ring], SIZE)
    assert patch.inside.shape == SIZE
    assert patch.inside.all()
    outside = fill([ring + 3e9], SIZE)
    assert outside.inside.size == 0


def test_many_edges_across_many_rows_are_counted_in_parts():
    """More crossings than are held at once: a comb of teeth, one edge a column, 2000 rows deep."""
    x = np.arange(1001)
    comb = np.stack([x, np.where(x % 2, 2000, 0)], axis=1).astype(float)
    ring = np.concatenate([comb, [(1000, 2000), (0, 2000)]])
    found = drawn(fill([ring], (2000, 1000)), (2000, 1000))
    down = (np.arange(2000) + 0.5) / 2000  # where in its column the edge of an even column is
    left_of_center = np.where(np.arange(1000) % 2, 1 - down[:, None], down[:, None]) < 0.5
    crossed = 1 + np.arange(1000) + left_of_center
    assert np.array_equal(found, crossed % 2 == 1)
