"""Model files: whole, with their card, and refused in one line otherwise."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from xctvol.errors import InputError
from xctvol.journal import Recipe
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale, Losses, Recalibration, Training
from xctvol.model.file import open_model, read_card, read_recipe, save_model
from xctvol.volume.window import Window

TRAINING = Training(
    options={"epochs": 2},
    replicate=0,
    trained_on=("s1", "s2"),
    validated_on=("s3",),
    losses=(Losses(0.5, 0.6), Losses(0.4, 0.5)),
    best_epoch=2,
    scores={"running": 0.9},
    kept="running",
    versions={"torch": "2"},
)
CARD = Card(
    architecture="fcn_resnet101",
    materials=Materials.from_json([{"name": "a", "mask": [1, 2, 3], "label": 9}]),
    grey=GreyScale("uint16", Window(100.0, 5000.5), 0.3, 0.1),
    norm="batch",
    spacing_um=(2.0, 0.65, 0.65),
    scale=0.5,
    training=TRAINING,
    recalibration=Recalibration("leaf.zarr", 32, 0.99),
)


def test_cards_survive_json():
    assert Card.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD
    bare = replace(CARD, spacing_um=None, training=None, recalibration=None)
    assert Card.from_json(json.loads(json.dumps(bare.to_json()))) == bare


def test_a_model_is_its_card_and_its_weights(save, tmp_path):
    model = save()
    network = model.network()
    again = tmp_path / "again.safetensors"
    recipe = Recipe("train", {"pairs": []}, {"seed": 0})
    save_model(again, model.card, network.body.state_dict(), recipe)
    assert read_card(again) == model.card
    assert read_recipe(again) == recipe
    assert read_recipe(model.path) is None
    weights, stored = network.body.state_dict(), load_file(model.path)
    assert all(torch.equal(weights[name], stored[name]) for name in weights)
    assert open_model(again).digest != model.digest


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_model(tmp_path / "none.safetensors")


def test_equal_content_gives_equal_bytes(save, tmp_path):
    model = save()
    recipe = Recipe("train", {"pairs": []}, {"seed": 0})
    for name in "abcd":
        weights = model.network().body.state_dict()
        save_model(tmp_path / name, model.card, weights, recipe)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1


def test_others_may_read_a_model_as_any_new_file(save, tmp_path):
    (tmp_path / "new").touch()
    assert save().path.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_truncated(save):
    path = save().path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not a model file, or is damaged"):
        open_model(path)


def test_not_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"PK\x03\x04 a checkpoint by pickle")
    with pytest.raises(InputError, match="is not a model file"):
        open_model(path)


def test_no_card(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="no card"):
        open_model(path)


def test_metadata_that_is_not_json(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(1)}, path, {"xctvol": "{"})
    with pytest.raises(InputError, match="its card is damaged"):
        open_model(path)


def damaged(model, **changes):
    card = {**model.card.to_json(), **changes}
    about = json.dumps({"card": card, "recipe": None})
    save_file(load_file(model.path), model.path, {"xctvol": about})
    return model.path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"in format 2 .* knows format 1: update xctvol"),
        ({"norm": "instance"}, "'instance' is none of running, batch"),
        ({"decode": "magic"}, "'magic' is none of argmax, threshold"),
        ({"grey": {}}, "damaged"),
        ({"grey": {**CARD.to_json()["grey"], "std": 0.0}}, r"deviation of 0\.0 is not above 0"),
        ({"grey": {**CARD.to_json()["grey"], "mean": float("nan")}}, "damaged"),
        ({"spacing_um": [float("inf"), 1, 1]}, "damaged"),
        ({"training": {"losses": []}}, "damaged"),
        ({"training": [1]}, "damaged"),
        ({"scale": 0}, "a scale of 0 is not above 0"),
        ({"scale": float("inf")}, "a scale of inf is not above 0"),
        ({"recalibration": {"scan": "a"}}, "damaged"),
        ({"materials": []}, "no materials"),
        ({"architecture": "fcn_resnet102"}, "there is no architecture 'fcn_resnet102'"),
        (
            {"architecture": "fcn_resnet50"},
            "do not fit its card .*backbone.conv1.weight is missing",
        ),
    ],
)
def test_cards_that_cannot_be_used(save, changes, message):
    path = damaged(save(), **changes)
    with pytest.raises(InputError, match=message) as error:
        open_model(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_for_other_materials(save):
    model = save()
    four = Materials.numbered((1, 2, 3, 4))
    path = damaged(model, materials=four.to_json())
    with pytest.raises(InputError, match=r"4 materials\): out.weight has shape \(3, 16, 1, 1\)"):
        open_model(path)
