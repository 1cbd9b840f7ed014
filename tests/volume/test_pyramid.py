"""Halving against the definitions, written out with numpy."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xctvol.volume import halve_grey, halve_labels

small = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)


def corners(volume):
    """Each 2 x 2 x 2 cell as a list of eight values, odd edges repeated."""
    padded = np.pad(volume, [(0, n % 2) for n in volume.shape], mode="edge")
    z, y, x = (n // 2 for n in padded.shape)
    cells = padded.reshape(z, 2, y, 2, x, 2).transpose(0, 2, 4, 1, 3, 5)
    return cells.reshape(z, y, x, 8)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("kind", ["uint", "int"])
@given(data=st.data())
def test_means_of_integers_are_exact_and_round_halves_up(kind, bits, data):
    volume = data.draw(hnp.arrays(f"{kind}{bits}", small))
    expected = (corners(volume).astype(object).sum(axis=-1) + 4) // 8
    np.testing.assert_array_equal(halve_grey(volume), expected.astype(volume.dtype))


def test_means_of_floats():
    volume = np.random.default_rng(0).normal(size=(6, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(halve_grey(volume), corners(volume).mean(axis=-1), rtol=1e-5)
    assert halve_grey(volume).dtype == np.float32


@given(data=st.data())
def test_means_of_half_precision_are_as_near_as_it_allows(data):
    """Eight values of 9000 are more than it has numbers for."""
    values = st.floats(-60000, 60000, width=16)
    volume = data.draw(hnp.arrays(np.float16, small, elements=values))
    expected = corners(volume).astype(np.float64).mean(axis=-1)
    assert halve_grey(volume).dtype == np.float16
    np.testing.assert_allclose(halve_grey(volume), expected, rtol=2**-10, atol=1e-3)


def test_means_of_what_is_not_finite_are_not_finite_and_warn_of_nothing():
    volume = np.ones((2, 4, 6), np.float32)
    volume[0, 0, :5] = [np.nan, 1, np.inf, -np.inf, np.finfo(np.float32).max]
    volume[1, 1, 4] = np.finfo(np.float32).max
    assert np.isfinite(halve_grey(volume)).tolist() == [[[False] * 3, [True] * 3]]


@pytest.mark.parametrize("shape", [(2, 200, 130), (3, 129, 131)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_means_do_not_depend_on_size(dtype, shape):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    volume = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    expected = np.floor(corners(volume).astype(float).sum(axis=-1) / 8 + 0.5)
    np.testing.assert_array_equal(halve_grey(volume), expected.astype(dtype))
    flipped = volume[:, :, ::-1]
    np.testing.assert_array_equal(halve_grey(flipped), halve_grey(flipped.copy()))


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("uint8", 5), ("uint8", 255), ("uint32", 9), ("int64", 9), ("uint64", 2**64 - 1)],
)
@given(data=st.data())
def test_modes_are_most_frequent_and_smallest_of_equals(dtype, largest, data):
    volume = data.draw(hnp.arrays(dtype, small, elements=st.integers(0, largest)))
    cells = corners(volume)
    expected = np.empty(cells.shape[:3], dtype)
    for place in np.ndindex(expected.shape):
        counts = Counter(cells[place].tolist())
        expected[place] = min(counts, key=lambda value: (-counts[value], value))
    np.testing.assert_array_equal(halve_labels(volume), expected)


@pytest.mark.parametrize("shape", [(2, 200, 130), (3, 129, 131)])
@pytest.mark.parametrize("largest", [1, 200])
def test_modes_do_not_depend_on_size(shape, largest):
    volume = np.random.default_rng(0).integers(0, largest, shape, np.uint8, endpoint=True)
    cells = corners(volume)
    counts = (cells[..., :, None] == cells[..., None, :]).sum(axis=-1)
    best = np.where(counts == counts.max(axis=-1, keepdims=True), cells, 255).min(axis=-1)
    np.testing.assert_array_equal(halve_labels(volume), best)
    flipped = volume[:, :, ::-1]
    np.testing.assert_array_equal(halve_labels(flipped), halve_labels(flipped.copy()))
