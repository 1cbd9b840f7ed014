"""Windows and histograms against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xctvol.errors import InputError, UsageError
from xctvol.volume import Histogram, Percentiles, Window, parse_window

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_to_uint8_is_the_rounded_clipped_line(dtype):
    rng = np.random.default_rng(0)
    grey = (rng.normal(60, 40, (3, 20, 20))).clip(-120, 120).astype(dtype)
    if np.dtype(dtype).kind == "u":
        grey = np.abs(rng.normal(60, 40, (3, 20, 20))).astype(dtype)
    out = np.empty(grey.shape, np.uint8)
    Window(10, 100).to_uint8(grey, out)
    expected = np.rint(((grey.astype(float) - 10) * (255 / 90)).clip(0, 255))
    np.testing.assert_array_equal(out, expected)


def test_nan_becomes_zero_and_infinities_the_ends():
    out = np.empty((1, 1, 3), np.uint8)
    Window(0, 1).to_uint8(np.array([[[np.nan, np.inf, -np.inf]]], np.float32), out)
    assert out.tolist() == [[[0, 255, 0]]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_histograms_of_small_integers_are_exact(dtype):
    info = np.iinfo(dtype)
    grey = np.random.default_rng(1).integers(info.min, info.max, (4, 9, 9), dtype, endpoint=True)
    histogram = Histogram.of(grey)
    values, counts = np.unique(grey, return_counts=True)
    present = np.flatnonzero(histogram.counts)
    np.testing.assert_array_equal(histogram.values()[present], values)
    np.testing.assert_array_equal(histogram.counts[present], counts)


@settings(max_examples=25)
@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=40))
def test_bins_of_floats_are_in_order_and_narrow(values):
    grey = np.array(values, np.float32).reshape(1, 1, -1)
    histogram = Histogram.of(grey)
    places = np.repeat(np.arange(len(histogram.counts)), histogram.counts)
    edges, exact = histogram.values()[places], np.sort(grey.ravel()).astype(float)
    assert (edges <= exact).all()
    np.testing.assert_allclose(edges, exact, rtol=2**-10, atol=1e-38)


def test_histograms_add_up():
    grey = np.random.default_rng(2).normal(size=(8, 5, 5)).astype(np.float32)
    whole, parts = Histogram.of(grey), Histogram.of(grey[:3]) + Histogram.of(grey[3:])
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_the_window_of_percentiles_cuts_off_that_many_voxels():
    grey = np.arange(1000, dtype=np.uint16).reshape(10, 10, 10)
    window = Histogram.of(grey).window(Percentiles(1, 99))
    assert (window.low, window.high) == (9, 989)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_the_histogram_of_stored_values_is_that_of_the_stored_voxels(dtype):
    grey = np.random.default_rng(3).normal(90, 30, (3, 300, 300)).clip(0, 127).astype(dtype)
    window, stored = Window(20, 120), np.empty(grey.shape, np.uint8)
    window.to_uint8(grey, stored)
    expected = np.bincount(stored.ravel(), minlength=256)
    assert Histogram.of(grey).stored(window) == expected.tolist()


def test_the_histogram_of_stored_floats_is_nearly_that_of_the_stored_voxels():
    grey = np.random.default_rng(3).normal(90, 30, (3, 300, 300)).astype(np.float32)
    window, stored = Window(20, 120), np.empty(grey.shape, np.uint8)
    window.to_uint8(grey, stored)
    counts = Histogram.of(grey).stored(window)
    assert sum(counts) == grey.size
    mean = np.average(np.arange(256), weights=counts)
    assert mean == pytest.approx(stored.mean(), abs=0.1)


def test_a_scan_of_one_value_has_no_window():
    with pytest.raises(InputError, match="one grey value, 7"):
        Histogram.of(np.full((2, 3, 3), 7, np.uint8)).window(Percentiles(0.1, 99.9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("0,40000", Window(0, 40000)),
        ("-1.5, 2e3", Window(-1.5, 2000)),
        ("0.1%,99.9%", Percentiles(0.1, 99.9)),
    ],
)
def test_windows_are_read_as_typed(text, expected):
    assert parse_window(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "1,2,3", "0.1%,99", "a,b", "5,5", "9,1", "2%,1%", "0,1e"]
)
def test_other_windows_are_refused(text):
    with pytest.raises(UsageError):
        parse_window(text)
