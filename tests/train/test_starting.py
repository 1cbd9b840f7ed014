"""Weights to start from: torchvision's files, and models of this package."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.model.networks import build
from xctvol.stages.train import train
from xctvol.stages.train.settings import Settings
from xctvol.stages.train.starting import read_starting, starting_network

ARCHITECTURE = "lraspp_mobilenet_v3_large"
HEADS = {
    f"classifier.{level}_classifier.{kind}"
    for level in ("low", "high")
    for kind in ("weight", "bias")
}
TWO = Materials.from_json([{"name": "ground", "mask": 0}, {"name": "disk", "mask": 255}])


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A file as torchvision's COCO weights are: 21 classes."""
    path = tmp_path_factory.mktemp("weights") / "coco.pth"
    torch.manual_seed(7)
    body = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    torch.save(body.state_dict(), path)
    return path


def test_all_but_the_last_layers_are_taken(coco, tmp_path):
    written = torch.load(coco, weights_only=True)
    save_file(written, tmp_path / "coco.safetensors")
    for path in (coco, tmp_path / "coco.safetensors"):
        assert set(read_starting(path, ARCHITECTURE, TWO).left) == HEADS
        network = starting_network(Settings(ARCHITECTURE, weights=path), TWO)
        for name, tensor in network.body.state_dict().items():
            assert name in HEADS or torch.equal(tensor, written[name]), name


def test_the_last_layers_depend_on_the_seed_alone(coco):
    heads = []
    for _ in "ab":
        torch.manual_seed(3)
        body = starting_network(Settings(ARCHITECTURE, weights=coco), TWO).body
        heads.append(body.classifier.low_classifier.weight)
    assert torch.equal(*heads)


def test_torchvisions_auxiliary_head_is_left_out(tmp_path):
    body = build("fcn_resnet50", 2).body
    state = {**body.state_dict(), "aux_classifier.0.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "w.pth")
    starting = read_starting(tmp_path / "w.pth", "fcn_resnet50", TWO)
    assert starting.left == ()
    assert set(starting.weights) == set(body.state_dict())


def test_other_networks_are_refused(coco, tmp_path):
    with pytest.raises(InputError, match=r"coco.pth are not of unet: .* name the architecture"):
        read_starting(coco, "unet", TWO)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text.pth is damaged, or not a state dict"):
        read_starting(tmp_path / "text.pth", ARCHITECTURE, TWO)


def test_training_goes_on_from_a_model(pairs, tmp_path):
    """The first epoch begins where the model was; other materials leave the last layer out."""
    small = {"architecture": "unet", "crop": 32, "batch": 4, "device": "cpu"}
    (model,) = train(pairs, tmp_path / "m.safetensors", epochs=8, **small).run()
    plan = train(pairs, tmp_path / "n.safetensors", epochs=1, weights=model.path, **small)
    assert "starts from m.safetensors" in str(plan)
    assert "at random" not in str(plan)
    (further,) = plan.run()
    first, last = model.card.training.losses[0], model.card.training.losses[-1]
    assert further.card.training.losses[0].training < (first.training + last.training) / 2
    assert further.card.training.options["weights"] == "m.safetensors"
    renamed = Materials.from_json([{"name": "air", "mask": 0}, {"name": "disk", "mask": 255}])
    assert read_starting(model.path, "unet", renamed).left == ("out.weight", "out.bias")


def test_the_weights_are_part_of_the_recipe(coco, pairs, tmp_path):
    options = {"architecture": ARCHITECTURE, "crop": 32, "batch": 2, "device": "cpu"}
    plan = train(pairs, tmp_path / "m.safetensors", weights=coco, **options)
    assert "classifier.low_classifier.weight" in str(plan)
    plain = train(pairs, tmp_path / "m.safetensors", **options)
    assert plan.recipe.differences(plain.recipe) == ["weights", "weights"]
