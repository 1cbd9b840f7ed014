import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import UsageError
from xctvol.units import (
    Spacing,
    format_bytes,
    format_duration,
    micrometres_per,
    parse_bytes,
    parse_spacing,
)

sizes = st.floats(1e-6, 1e6)


@given(z=sizes, y=sizes, x=sizes)
def test_spacing_reads_back_what_it_was_given(z, y, x):
    assert parse_spacing(f"{z!r}, {y!r}, {x!r} um") == Spacing(z, y, x)


@given(size=sizes)
def test_one_number_stands_for_all_axes(size):
    spacing = parse_spacing(f"{size!r}um")
    assert spacing == Spacing(size, size, size)
    assert spacing.isotropic
    assert spacing.volume == size * size * size


@pytest.mark.parametrize(
    ("text", "um"),
    [
        ("650nm", 0.65),
        ("0.65um", 0.65),
        ("0.65 \N{MICRO SIGN}m", 0.65),
        ("0.65\N{GREEK SMALL LETTER MU}m", 0.65),
        ("0.65 Micron", 0.65),
        ("6.5e-4mm", 0.65),
        ("  1 cm ", 10_000.0),
        ("1m", 1_000_000.0),
    ],
)
def test_units_of_length(text, um):
    assert parse_spacing(text).zyx == pytest.approx((um, um, um), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write a number and a unit"),
        ("0.65", "write a number and a unit"),
        ("um", "write a number and a unit"),
        ("0.65 furlong", "'furlong' is not a length unit; use one of nm, um"),
        ("1,2um", "has 2 numbers: give one for all axes, or z,y,x"),
        ("1,2,3,4um", "has 4 numbers"),
        ("1,,1um", "cannot read the numbers"),
        ("1-2um", "cannot read the numbers"),
        ("0um", "each axis needs a positive number"),
        ("1,1,-1um", "each axis needs a positive number"),
        ("1e999um", "each axis needs a positive number"),
    ],
)
def test_voxel_sizes_that_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_spacing(text)


def test_nan_is_no_voxel_size():
    with pytest.raises(UsageError, match="not possible"):
        Spacing(1.0, float("nan"), 1.0)


def test_spacing_takes_its_unit_from_the_caller():
    assert Spacing.of((1, 2, 3), "mm") == Spacing(1000.0, 2000.0, 3000.0)
    assert micrometres_per(" Micrometer ") == 1.0


def test_spacing_says_its_axes_only_where_they_differ():
    assert str(Spacing(0.65, 0.65, 0.65)) == "0.65 um"
    assert str(Spacing(2, 0.65, 0.65)) == "2 x 0.65 x 0.65 um (z, y, x)"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("8GB", 8 * 10**9),
        ("8g", 8 * 10**9),
        ("1.5 TB", 1_500_000_000_000),
        ("4 KiB", 4096),
        ("2GiB", 2 * 2**30),
        ("1TiB", 2**40),
        ("3 Mi", 3 * 2**20),
    ],
)
def test_amounts_of_memory(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", ".", "1.2.3GB", "8 bananas", "8GBB", "1e9"])
def test_amounts_of_memory_that_are_refused(text):
    with pytest.raises(UsageError, match="write it as 8GB or 500MB"):
        parse_bytes(text)


@given(st.integers(0, 10**16))
def test_bytes_for_people_are_right_to_a_twentieth_of_their_unit(count):
    number, unit = format_bytes(count).split()
    scale = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(number) * scale - count) <= 0.0501 * scale


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (75, "1 min 15 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7384, "2 h 3 min"),
    ],
)
def test_durations_for_people(seconds, text):
    assert format_duration(seconds) == text
