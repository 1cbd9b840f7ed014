from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.sources.order import find_order, natural_key


def names(*given_names):
    return [Path("scan") / name for name in given_names]


def test_numbers_count_as_numbers_in_any_listing_order():
    wanted = names("s1.tif", "s2.tif", "s3.tif")
    for listing in permutations(wanted):
        assert find_order(listing).files == tuple(wanted)
    assert sorted(["s10", "s9", "s100"], key=natural_key) == ["s9", "s10", "s100"]


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 50), st.booleans())
def test_any_constant_step_is_complete(first, count, step, padded):
    numbers = [first + step * n for n in range(count)]
    width = 8 if padded else 0
    files = [Path(f"run07_{n:0{width}d}.tif") for n in numbers]
    order = find_order(files[::-1])
    assert list(order.files) == files
    assert order.missing == ()
    assert order.step == (step if count > 1 else 1)


@given(st.sets(st.integers(1, 40), min_size=1, max_size=30))
def test_exactly_the_removed_slices_are_missing(removed):
    """Numbers 0 and 41, and the neighbours 42 and 43, fix the ends and the step."""
    files = [Path(f"{n}.png") for n in range(44) if n not in removed]
    assert find_order(files, allow_gaps=True).missing == tuple(sorted(removed))
    with pytest.raises(InputError, match=f"{len(removed)} slices are missing"):
        find_order(files)


def test_gaps_are_listed_as_ranges():
    files = [Path(f"a_{n:03d}.tif") for n in range(30) if n not in (3, 7, 8, 9)]
    with pytest.raises(InputError, match=r"a_000\.tif and a_029\.tif: 3, 7-9; "):
        find_order(files)
    assert "3, 7-9" in find_order(files, allow_gaps=True).notes[0]


def test_a_step_shows():
    assert find_order(names("0000.tif", "0050.tif", "0100.tif")).notes == (
        "the names count every 50th slice",
    )
    assert "every 2nd" in find_order(names("0.tif", "2.tif", "4.tif")).notes[0]
    assert "every 11th" in find_order(names("0.tif", "11.tif")).notes[0]


def test_two_files_with_one_number_are_refused_even_with_gaps_allowed():
    with pytest.raises(InputError, match=r"a_1\.tif and a_01\.tif|a_01\.tif and a_1\.tif"):
        find_order(names("a_1.tif", "a_01.tif", "a_2.tif"), allow_gaps=True)


def test_the_last_number_that_always_grows_counts():
    files = names("7T_120001_1.tif", "7T_120009_2.tif", "7T_120011_3.tif")
    assert find_order(files).step == 1
    positions = names("s1_z0.65.tif", "s2_z1.30.tif", "s3_z1.95.tif")
    assert find_order(positions).files == tuple(positions)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (names("a_1.tif", "b_2.tif"), "a_1.tif and b_2.tif are named differently"),
        (names("a.tif", "b.tif"), "named differently"),
        (names("t1_z1.tif", "t1_z2.tif", "t2_z1.tif"), "no number in the names"),
    ],
)
def test_names_that_do_not_count_are_refused(files, reason):
    with pytest.raises(InputError, match=reason):
        find_order(files)
