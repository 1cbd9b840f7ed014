"""Windows and histograms against plain numpy."""

import functools
import io
import operator

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


PARTS = [  # of one scan: offsets and widths, some of many pages of keys and some of few
    (0, 0), (32768, 30), (1000, 0.3), (-5, 10), (0, 1e-6), (3e4, 3e4), (-1e6, 7), (2e9, 1e8)
]  # fmt: skip  # a table


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint32", "int64"])
def test_sums_of_histograms_are_the_same_in_any_order(dtype):
    rng = np.random.default_rng(4)
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    parts = [
        (start + rng.random((2, 30, 40)) * width).clip(limits.min, limits.max).astype(dtype)
        for start, width in PARTS
    ]
    whole = Histogram.of(np.concatenate(parts))
    assert int(whole.counts.sum()) == sum(part.size for part in parts)
    for _ in range(10):
        histograms = [Histogram.of(parts[n]) for n in rng.permutation(len(parts))]
        middle = int(rng.integers(1, len(parts)))
        left, right = (
            functools.reduce(operator.add, some)
            for some in (histograms[:middle], histograms[middle:])
        )
        for total in (left + right, right + left):
            np.testing.assert_array_equal(total.counts, whole.counts)
            np.testing.assert_array_equal(total.pages, whole.pages)


@pytest.mark.parametrize("dtype", DTYPES)
def test_histograms_are_read_as_they_were_written(dtype):
    histogram = Histogram.of(np.arange(1, 61).reshape(3, 4, 5).astype(dtype))
    file = io.BytesIO()
    histogram.save(file)
    file.seek(0)
    read = Histogram.load(np.dtype(dtype), file)
    np.testing.assert_array_equal(read.counts, histogram.counts)
    np.testing.assert_array_equal(read.values(), histogram.values())


def test_values_that_are_not_finite_are_not_counted():
    grey = np.array([[[np.nan, 3, np.inf, -np.inf, -0.0, 0.0]]], np.float32)
    histogram = Histogram.of(grey)
    present = np.flatnonzero(histogram.counts)
    assert histogram.values()[present].tolist() == [0, 3]
    assert histogram.counts[present].tolist() == [2, 1]
    with pytest.raises(InputError, match="no finite grey value"):
        (Histogram.of(grey[:, :, :1]) + Histogram.of(grey[:, :, 2:4])).window(Percentiles(1, 99))


def exact_window(grey, percentiles):
    return [
        float(np.percentile(grey, p, method="inverted_cdf"))
        for p in (percentiles.low, percentiles.high)
    ]


@settings(max_examples=60)
@given(
    dtype=st.sampled_from(["float16", "float32", "float64", "int32", "uint32", "int64", "uint64"]),
    start=st.sampled_from([0, 1, 1000, 32768, 10**6, 3 * 10**9, -7, -(10**6)]),
    share=st.floats(1e-3, 10),
    odd=st.sampled_from([0, 3, 40]),
    asked=st.sampled_from([Percentiles(0.1, 99.9), Percentiles(2, 60), Percentiles(0, 100)]),
    seed=st.integers(0, 2**32),
)
def test_no_more_is_clipped_than_was_asked_for_and_little_less(
    dtype, start, share, odd, asked, seed
):
    """Grey values `share` times as wide as they are far from 0, a few dead and hot voxels."""
    rng = np.random.default_rng(seed)
    grey = start + rng.random(9973) * share * max(abs(start), 1)
    grey[:odd] = rng.choice([0, 1e-3, 2.0 * grey.max()], odd)
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    grey = grey.clip(limits.min, limits.max / 2).astype(dtype).reshape(1, 1, -1)
    exact = exact_window(grey, asked)
    if exact[0] == exact[1]:
        return
    window = Histogram.of(grey).window(asked)
    assert (grey < window.low).mean() <= asked.low / 100
    assert (grey > window.high).mean() <= 1 - asked.high / 100
    bin_width = 1e-3 * (exact[1] - exact[0])
    if np.dtype(dtype).itemsize == 8:  # counted as float32
        bin_width += 2**-22 * max(map(abs, exact))
    np.testing.assert_allclose([window.low, window.high], exact, rtol=0, atol=bin_width)


@pytest.mark.parametrize(
    ("dtype", "start", "width"),
    [("float32", 32768, 30), ("float32", 1000, 0.3), ("uint32", 3_000_000_000, 1_000_000)],
)
@pytest.mark.parametrize("dead", [0, 20])
def test_scans_far_from_zero_are_counted_exactly(dtype, start, width, dead):
    grey = (start + np.random.default_rng(0).random((4, 100, 100)) * width).astype(dtype)
    grey[0, 0, :dead] = 0
    window = Histogram.of(grey).window(Percentiles(0.12, 99.88))
    assert [window.low, window.high] == pytest.approx(
        exact_window(grey, Percentiles(0.12, 99.88)), abs=1e-4 * width
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_a_scan_of_one_wide_value_has_no_window(dtype):
    with pytest.raises(InputError, match="one grey value, 7000"):
        Histogram.of(np.full((2, 3, 3), 7000, dtype)).window(Percentiles(0.1, 99.9))


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
