"""decode_mask: exact, or refused with what was found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from xctvol.annotations import IGNORE, decode_mask
from xctvol.errors import InputError
from xctvol.materials import Materials

LEAF = Materials.from_json(
    [
        {"name": "air", "mask": [[255], [254]]},
        {"name": "mesophyll", "mask": 0},
        {"name": "vein", "mask": [220, 10, 5]},
    ]
)


def test_several_values_may_show_one_material():
    mask = np.array([[255, 254], [0, 0]], np.uint8)
    assert decode_mask(mask, LEAF).tolist() == [[0, 0], [1, 1]]


def test_a_grey_value_is_the_color_with_equal_channels():
    mask = np.array([[[255, 255, 255], [0, 0, 0], [220, 10, 5]]], np.uint8)
    assert decode_mask(mask, LEAF).tolist() == [[0, 1, 2]]
    grey = Materials.from_json([{"name": "a", "mask": [7, 7, 7]}])
    assert decode_mask(np.full((2, 2), 7, np.uint16), grey).tolist() == [[0, 0], [0, 0]]


def test_values_of_16_bits_are_not_cut():
    materials = Materials.from_json([{"name": "a", "mask": 300}, {"name": "b", "mask": 44}])
    assert decode_mask(np.array([[300, 44]], np.uint16), materials).tolist() == [[0, 1]]
    with pytest.raises(InputError, match=r"1 value belongs .*: \[44, 44, 45\] \(1\)"):
        decode_mask(np.array([[[44, 44, 45]]], np.uint8), materials)


def test_bilevel_masks_hold_0_and_1():
    materials = Materials.from_json([{"name": "off", "mask": 0}, {"name": "on", "mask": 1}])
    assert decode_mask(np.array([[True, False]]), materials).tolist() == [[1, 0]]


def test_unknown_values_come_with_their_counts_most_frequent_first():
    mask = np.array([[255, 128, 128, 127]], np.uint8)
    with pytest.raises(InputError, match=r"2 values belong .*: 128 \(2\), 127 \(1\)"):
        decode_mask(mask, LEAF)


def test_a_color_that_is_nearly_a_material_is_refused():
    mask = np.array([[[220, 10, 6]]], np.uint8)
    with pytest.raises(InputError, match=r"\[220, 10, 6\] \(1\)"):
        decode_mask(mask, LEAF)


def test_fractions_cannot_name_materials():
    with pytest.raises(InputError, match="float32"):
        decode_mask(np.zeros((2, 2), np.float32), LEAF)


colors = st.tuples(*[st.integers(0, 255)] * 3)


@given(
    values=st.lists(colors, min_size=1, max_size=6, unique=True),
    indices=npst.arrays(np.uint8, (5, 4), elements=st.integers(0, 5)),
)
def test_decoding_undoes_encoding(values, indices):
    indices = indices % len(values)
    materials = Materials.from_json(
        [{"name": str(i), "mask": list(value)} for i, value in enumerate(values)]
    )
    decoded = decode_mask(np.array(values, np.uint8)[indices], materials)
    assert np.array_equal(decoded, indices)
    assert IGNORE not in decoded
