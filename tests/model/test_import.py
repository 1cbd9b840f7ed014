"""Models of XCT_FCN: equal to torchvision in training mode, dropout off; anything else refused."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from torchvision import models
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, PlanError, UsageError
from xctvol.materials import Materials
from xctvol.model.file import read_recipe
from xctvol.model.predict import Predictor
from xctvol.stages.model import import_xctfcn
from xctvol.units import Spacing

MATERIALS = Materials.from_json(
    [{"name": name, "mask": v, "label": v} for v, name in enumerate(("air", "leaf", "vein"), 1)]
)
MEAN, STD = 0.45, 0.2
SMALL = {"mean": MEAN, "std": STD, "architecture": "fcn_resnet50"}
LIGHT = {**SMALL, "architecture": "lraspp_mobilenet_v3_large"}


def reference_network():
    """As XCT_FCN trains it: with an auxiliary head."""
    torch.manual_seed(0)
    return models.get_model(
        "fcn_resnet50", weights=None, weights_backbone=None, num_classes=3, aux_loss=True
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("xctfcn") / "model.pth"
    torch.save(reference_network().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def light_checkpoint(tmp_path_factory):
    """Of a network a tenth as large, for what all networks have in common."""
    torch.manual_seed(0)
    network = models.get_model(
        LIGHT["architecture"], weights=None, weights_backbone=None, num_classes=3
    )
    path = tmp_path_factory.mktemp("light") / "model.pth"
    torch.save(network.state_dict(), path)
    return path


@torch.no_grad()
def reference_logits(checkpoint, image, divisor):
    """One slice as XCT_FCN predicts it: three channels, training mode; dropout left out."""
    network = reference_network()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    network.train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    x = (torch.from_numpy(image.astype(np.float32)) / divisor - MEAN) / STD
    return network(x.repeat(1, 3, 1, 1))["out"]


@pytest.mark.slow
def test_labels_are_those_of_torchvision_in_training_mode(checkpoint, tmp_path):
    """With the right grey values and the old ones, which give other logits at the borders."""
    slices = np.random.default_rng(0).integers(0, 256, (2, 41, 56)).astype(np.uint8)
    references = []
    for preprocess, divisor in (("fixed", 255), ("legacy", 1)):
        logits = torch.cat([reference_logits(checkpoint, image, divisor) for image in slices])
        references.append(logits)
        output = tmp_path / f"{preprocess}.safetensors"
        plan = import_xctfcn(checkpoint, MATERIALS, output, preprocess=preprocess, **SMALL)
        predictor = Predictor(plan.run(), "cpu")
        top = logits.topk(2, 1).values
        clear = (top[:, 0] - top[:, 1] >= 1e-5).numpy()
        found = predictor.indices(slices)
        assert np.array_equal(found[clear], logits.argmax(1).numpy()[clear])
        assert clear.mean() > 0.999
        assert len(np.unique(found)) > 1
        rounding = np.abs(predictor.logits(slices) - logits.numpy()).max()
        assert rounding < 1e-3  # of some 3000 values each
    assert not np.allclose(*references, atol=5e-3)


def test_the_card_says_what_the_file_does_not(light_checkpoint, tmp_path):
    plan = import_xctfcn(
        light_checkpoint, MATERIALS, tmp_path / "m.safetensors",
        scale=0.5, spacing=Spacing(2, 1, 1), decode="threshold", **LIGHT,
    )  # fmt: skip  # one call
    model = plan.run()
    card = model.card
    assert (card.norm, card.decode, card.scale) == ("batch", "threshold", 0.5)
    assert (card.materials, card.spacing_um) == (MATERIALS, (2, 1, 1))
    assert (card.grey.mean, card.grey.std) == (MEAN, STD)
    recipe = read_recipe(model.path)
    assert recipe is not None
    assert recipe.verb == "import-xctfcn"
    written = model.path.read_bytes()
    assert plan.run().digest == model.digest
    other = import_xctfcn(light_checkpoint, MATERIALS, model.path, **LIGHT)
    with pytest.raises(PlanError, match="started with other card"):
        other.run()
    assert model.path.read_bytes() == written
    assert other.overwrite().run().card.scale == 1
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_two_materials_for_a_model_of_three(checkpoint, tmp_path):
    two = Materials.from_json(MATERIALS.to_json()[:2])
    with pytest.raises(InputError, match="was trained for 3 materials but the table names 2"):
        import_xctfcn(checkpoint, two, tmp_path / "m.st", **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "fcn_resnet101"}, "do not fit fcn_resnet101 .* is missing"),
        ({"architecture": "nonsense"}, "no architecture 'nonsense'"),
        ({"mean": 115}, "a mean of 115 is not possible"),
        ({"std": 0}, "standard deviation of 0"),
        ({"std": float("nan")}, "standard deviation of nan"),
        ({"scale": 2}, "a scale of 2"),
        ({"decode": "threshold_sum"}, "air \\+ leaf as well as vein|vein as well as air \\+ leaf"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    checkpoint, tmp_path, change, message
):
    with pytest.raises((InputError, UsageError), match=message):
        import_xctfcn(checkpoint, MATERIALS, tmp_path / "m.st", **{**SMALL, **change})
    assert not list(tmp_path.iterdir())


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the bomb went off')",))


CONTENTS = {  # what torch.save could have written, made from a good state dict
    "bomb": lambda state: {"w": Bomb()},
    "whole model": lambda state: torch.nn.Conv2d(1, 1, 1),
    "numbers": lambda state: {"w": 1.0},
    "nothing": lambda state: {},
    "sparse": lambda state: {"w": torch.eye(3).to_sparse()},
    "wrapped": lambda state: {"state_dict": state},
    "missing": lambda state: {k: w for k, w in state.items() if k != "backbone.conv1.weight"},
    "left over": lambda state: {**state, "extra": torch.zeros(2)},
    "not a number": lambda state: {**state, "classifier.4.bias": torch.full((3,), torch.nan)},
    "huge": lambda state: {
        **state, "classifier.4.weight": torch.zeros(1).expand(10**9, 512, 1, 1)
    },
}  # fmt: skip  # one entry a line


def write(path, what, checkpoint):
    raw = {"text": b"hello", "empty": b"", "pickle": pickle.dumps(Bomb())}
    if what in raw:
        path.write_bytes(raw[what])
    elif what == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    elif what == "grows":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/0", bytes(10**7))
    elif what == "truncated":
        path.write_bytes(checkpoint.read_bytes()[:50_000])
    else:
        torch.save(CONTENTS[what](torch.load(checkpoint, weights_only=True)), path)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("bomb", "can be read without running its code"),
        ("pickle", "can be read without running its code"),
        ("whole model", "can be read without running its code"),
        ("zip", "can be read without running its code"),
        ("grows", "claims to hold 10000000 bytes, more than it has"),
        ("text", "can be read without running its code"),
        ("empty", "can be read without running its code"),
        ("truncated", "can be read without running its code"),
        ("numbers", "not a state dict of dense tensors"),
        ("nothing", "not a state dict of dense tensors"),
        ("wrapped", "not a state dict of dense tensors"),
        ("sparse", "not a state dict of dense tensors"),
        ("missing", "backbone.conv1.weight is missing"),
        ("left over", "extra is not part of the network"),
        ("not a number", "classifier.4.bias holds values that are not numbers"),
        ("huge", "was trained for 1000000000 materials but the table names 3"),
    ],
)
def test_other_files_are_refused_in_one_line(checkpoint, tmp_path, what, words):
    path = tmp_path / "model.pth"
    write(path, what, checkpoint)
    with pytest.raises(InputError, match=words) as error:
        import_xctfcn(path, MATERIALS, tmp_path / "m.st", **SMALL)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500


def test_the_command_line_imports_and_shows(light_checkpoint, tmp_path):
    (tmp_path / "leaf.toml").write_text(MATERIALS.to_toml())
    output = str(tmp_path / "m.safetensors")
    command = [
        "model", "import-xctfcn", str(light_checkpoint), "--materials", str(tmp_path / "leaf.toml"),
        "--mean", "0.45", "--std", "0.2", "--output", output,
        "--spacing", "0.65um", "--preprocess", "legacy",
    ]  # fmt: skip  # one command
    result = CliRunner().invoke(app, [*command, "--architecture", LIGHT["architecture"]])
    assert result.exit_code == 0, result.stderr
    assert "air" in result.stdout
    shown = CliRunner().invoke(app, ["model", "show", output])
    assert "norm" in shown.stdout
    assert "batch" in shown.stdout
    assert "2 leaf, threshold 0.5" in shown.stdout
    refused = CliRunner().invoke(app, ["model", "show", str(light_checkpoint)])
    assert refused.exit_code == 3
