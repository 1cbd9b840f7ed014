import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.stages.report.quantities import Unit, count, length, lengths, scale_bar, unit_of


@given(st.floats(1e-3, 1e7))
def test_a_scale_bar_is_round_and_a_tenth_to_a_quarter_of_the_picture(extent_um):
    bar = scale_bar(extent_um)
    assert extent_um / 10 * (1 - 1e-9) <= bar <= extent_um / 4
    digit = bar / 10 ** math.floor(math.log10(bar) + 1e-9)
    assert min(abs(digit - d) for d in (1, 2, 5)) < 1e-9


@given(st.floats(1e-3, 1e12), st.sampled_from([1, 2, 3]))
def test_numbers_in_a_unit_are_right_to_three_digits(value, power):
    unit = unit_of([value], power)
    shown = float(unit.number(value).replace("\N{NARROW NO-BREAK SPACE}", ""))
    assert shown * unit.scale == pytest.approx(value, rel=0.0051)
    assert shown >= 1 or unit.scale == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05, "0.05"), (0.65, "0.65"), (1.0, "1"), (12.345, "12.3"), (300, "300"),
     (1234567.0, "1 234 567"), (float("nan"), "\N{EN DASH}")],
)  # fmt: skip  # short cases share lines
def test_numbers_for_people(value, text):
    shown = Unit("µm", 1.0).number(value)
    assert shown.replace("\N{NARROW NO-BREAK SPACE}", " ") == text


def test_a_column_has_the_unit_of_its_largest_value():
    assert unit_of([1.0, 3e9, math.nan], 3) == Unit("mm³", 1e9)
    assert unit_of([0.001], 2) == unit_of([], 2) == Unit("µm²", 1.0)


def test_the_sides_of_a_box_share_a_unit():
    assert (
        lengths([1.3, 0.65, 0.65]).replace("\N{NO-BREAK SPACE}", " ")
        == "1.3 \N{MULTIPLICATION SIGN} 0.65 \N{MULTIPLICATION SIGN} 0.65 µm"
    )
    assert length(1664).replace("\N{NO-BREAK SPACE}", " ") == "1.66 mm"


def test_counts_are_grouped():
    assert count(290577) == "290\N{NARROW NO-BREAK SPACE}577"
    assert count(12) == "12"
