import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import InputError, PartialError
from xctvol.journal import Journal, Recipe, file_identity

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip  # the alternatives of one value stay together
groups = st.dictionaries(st.text(), values, max_size=4)
recipes = st.builds(Recipe, st.text(), groups, groups, st.integers(1, 9))


@given(recipes)
def test_a_recipe_survives_its_json(recipe):
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert again.differences(recipe) == []


def test_the_digest_does_not_depend_on_the_order_of_keys():
    one = Recipe("segment", {"scan": 1, "model": 2}, {"a": 3, "b": 4})
    other = Recipe("segment", {"model": 2, "scan": 1}, {"b": 4, "a": 3})
    assert one.digest == other.digest


RECIPE = Recipe("segment", {"model": "m", "scan": "s"}, {"halo": 1, "precision": "auto"}, 2)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Recipe("train", RECIPE.inputs, RECIPE.options, 2), ["verb"]),
        (Recipe("segment", RECIPE.inputs, RECIPE.options, 3), ["format"]),
        (Recipe("segment", {"model": "n", "scan": "s"}, RECIPE.options, 2), ["model"]),
        (Recipe("segment", RECIPE.inputs, {"halo": 1}, 2), ["precision"]),
        (Recipe("segment", RECIPE.inputs, {"halo": 2, "tile": 5}, 2),
         ["halo", "precision", "tile"]),
    ],
)  # fmt: skip  # one case a line
def test_recipes_that_differ_have_other_digests_and_say_where(other, names):
    assert other.digest != RECIPE.digest
    assert RECIPE.differences(other) == other.differences(RECIPE) == names


def test_a_recipe_without_a_json_value_has_no_digest():
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = Recipe("segment", {}, {"threshold": float("nan")}).digest


@pytest.mark.parametrize(
    "value",
    [None, 3, [], "text", {}, {"verb": "v", "inputs": {}, "options": {}},
     {"verb": "v", "inputs": {}, "options": {}, "format": "one"}],
)  # fmt: skip  # short cases share lines
def test_a_damaged_recipe_is_an_input_error(value):
    with pytest.raises(InputError, match="the record of how it was made is damaged"):
        Recipe.from_json(value)


def test_a_journal_remembers_blocks_and_results(tmp_path):
    journal = Journal(tmp_path / "segment")
    assert journal.done() == frozenset()
    assert journal.results() == {}
    for index in (1_000_000, 10, 2):
        journal.record(index, {"voxels": index})
    assert journal.is_done(10)
    assert not journal.is_done(3)
    again = Journal(tmp_path / "segment")
    assert again.done() == {2, 10, 1_000_000}
    assert list(again.results().items()) == [(i, {"voxels": i}) for i in (2, 10, 1_000_000)]


def test_nothing_is_concluded_from_a_journal_that_is_being_taken_away(tmp_path):
    journal = Journal(tmp_path)
    for index in range(3):
        journal.record(index, f"block {index}")
    assert journal.all_results(3) == ["block 0", "block 1", "block 2"]
    (tmp_path / "000001.json").unlink()
    with pytest.raises(PartialError, match="blocks that were done are there no longer"):
        journal.all_results(3)


def test_what_a_killed_writer_leaves_is_no_finished_block(tmp_path):
    journal = Journal(tmp_path)
    journal.record(1, None)
    (tmp_path / ".000002.json.0123abcd.partial").write_text("{")
    assert journal.done() == {1}


def test_a_file_is_another_when_its_name_size_or_time_changes(tmp_path):
    path = tmp_path / "scan.tif"
    path.write_bytes(b"abc")
    os.utime(path, ns=(1, 1_000_000_000))
    assert file_identity(path) == ["scan.tif", 3, 1_000_000_000]
    os.utime(path, ns=(1, 1_000_000_001))
    assert file_identity(path) != ["scan.tif", 3, 1_000_000_000]
