"""Label stacks become label volumes, or are refused where that shows first."""

import numpy as np
import pytest

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.labels import Keep
from xctvol.materials import Materials
from xctvol.sources import open_source
from xctvol.stages.convert import convert_labels
from xctvol.units import Spacing

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def stack(folder, values):
    np.save(folder / "stack.npy", values)
    return open_source(folder / "stack.npy", spacing=Spacing(2, 1, 1))


def block(dtype, label):
    """Two levels, with a block of one label."""
    values = np.zeros((5, 1100, 20), dtype)
    values[1:4, 200:900, 3:17] = label
    return values


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "meaning",
    [{}, {"nonzero": "leaf"}, {"materials": Materials.from_json([
        {"name": "air", "mask": 0, "label": 2}, {"name": "leaf", "mask": 3, "label": 1}])}],
    ids=["kept", "binarized", "by materials"],
)  # fmt: skip  # a table of two rows
def test_labels_of_every_integer_type_have_all_levels(tmp_path, dtype, meaning):
    values = block(dtype, 3)
    labels = convert_labels(stack(tmp_path, values), tmp_path / "a.zarr", **meaning).run()
    assert len(labels.volume.levels) == 2
    stored = {0: 2, 3: 1} if "materials" in meaning else {0: 0, 3: 1 if meaning else 3}
    expected = np.where(values == 3, stored[3], stored[0])
    np.testing.assert_array_equal(labels.volume.read(Box.whole(values.shape)), expected)
    assert {*np.unique(labels.volume.read(Box.whole((3, 550, 10)), 1))} <= {*stored.values()}


def test_types_are_no_wider_than_labels_need():
    assert Keep(np.dtype("i8")).dtype == Keep(np.dtype("u8")).dtype == np.uint8
    assert Keep(np.dtype("i4")).dtype == np.uint32
    assert Keep(np.dtype("i2")).dtype == np.uint16
    assert Keep(np.dtype("u8")).to_json() != Keep(np.dtype("u4")).to_json()


@pytest.mark.parametrize("value", [256, 300, 2**15])
@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_a_value_that_no_material_can_have_is_refused_at_its_slab(tmp_path, dtype, value):
    values = np.zeros((150, 4, 5), dtype)
    values[70, 2, 2] = value
    plan = convert_labels(stack(tmp_path, values), tmp_path / "a.zarr")
    said = rf"slice 70: the value {value} is too large for a label.*--materials.*--binarize"
    with pytest.raises(InputError, match=said):
        plan.run()
    assert plan.stages[0].journal.done() == {0}  # of three slabs


def test_values_below_zero_are_refused(tmp_path):
    plan = convert_labels(stack(tmp_path, block("int64", -1)), tmp_path / "a.zarr")
    with pytest.raises(InputError, match="slice 1: the value -1 is negative"):
        plan.run()


def test_a_stack_without_labels_is_refused_in_words_of_its_own(tmp_path):
    plan = convert_labels(stack(tmp_path, block("uint8", 0)), tmp_path / "a.zarr")
    with pytest.raises(InputError, match="every voxel is 0, so the stack has no labels"):
        plan.run()
