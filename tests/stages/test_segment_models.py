"""segment with several models, other rules, lower precision, probabilities, and unlike scans."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
import yaozarrs
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.materials import Materials
from xctvol.model import agreement
from xctvol.model.card import Card, GreyScale, Training
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.model.predict import Predictor
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.measure import measure
from xctvol.stages.segment import Where, segment
from xctvol.units import Spacing
from xctvol.volume import Window, open_volume

MATERIALS = Materials.from_json(
    [
        {"name": "air / pore", "mask": 0, "label": 1, "threshold": 0.3},
        {"name": "leaf", "mask": 1, "label": 2, "threshold": 0.35},
    ]
)
GREY = GreyScale("uint8", Window(0, 255), 0.5, 0.29)


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(0, 256, (70, 20, 24)).astype(np.uint8)


@pytest.fixture
def volume(voxels, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    scan = open_source(tmp_path / "a.tif", spacing=Spacing(1, 1, 1))
    return convert(scan, tmp_path / "a.zarr").run()


@pytest.fixture
def model_of(tmp_path):
    def make(seed=0, name=None, **card):
        torch.manual_seed(seed)
        network = build("unet", len(MATERIALS))
        with torch.no_grad():
            for parameter in network.body.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
            network.body.eval()
            logits = network.logits(torch.randn(1, 1, 64, 64))
            network.body.out.bias -= logits.mean((0, 2, 3))
        path = tmp_path / f"{name or seed}.safetensors"
        save_model(path, Card("unet", MATERIALS, GREY, **card), network.body.state_dict())
        return open_model(path)

    return make


@pytest.mark.parametrize(
    ("loss", "warned"), [("cross-entropy", False), ("balanced", True), ("bce", False)]
)
def test_probabilities_that_are_too_large_are_told(volume, model_of, loss, warned):
    training = Training({"loss": loss}, 0, (), (), (), 1, {"running": 0.9}, "running", {})
    one, other = (model_of(seed, training=training) for seed in range(2))

    def told(models, **asked):
        notes = segment(volume, models, device="cpu", **asked).notes
        return any("probabilities are too large" in note for note in notes)

    assert told(one, probabilities=True) == warned
    assert told(one, decode="threshold") == warned
    assert not told([one, other])
    assert not told(one)


def whole(volume):
    return volume.read(Box.whole(volume.shape))


def test_several_models_label_as_their_predictor_does(volume, voxels, model_of):
    models = [model_of(seed) for seed in range(3)]
    labels = segment(volume, models, device="cpu").run()
    assert np.array_equal(whole(labels.volume), Predictor(models, "cpu").labels(voxels))
    recorded = labels.volume.own["models"]
    assert [m["file"] for m in recorded] == [f"{seed}.safetensors" for seed in range(3)]
    assert [m["digest"] for m in recorded] == [model.digest for model in models]
    with pytest.raises(InputError, match="differ in decode rule"):
        segment(volume, [models[0], model_of(5, decode="threshold")], device="cpu")


def test_probabilities_lie_beside_the_labels(volume, voxels, model_of):
    model = model_of()
    labels = segment(volume, model, device="cpu", probabilities=True).run()
    details = Predictor(model, "cpu").details(voxels)
    assert np.array_equal(whole(labels.volume), details.labels)
    folder = labels.volume.path / "probabilities"
    expected = {
        "1-air-pore": details.probabilities[:, 0],
        "2-leaf": details.probabilities[:, 1],
        "margin": details.margin,
    }
    assert {path.name for path in folder.iterdir()} == expected.keys()
    for name, values in expected.items():
        yaozarrs.validate_zarr_store(str(folder / name))
        assert np.array_equal(whole(open_volume(folder / name)), values)
    again = segment(volume, model, device="cpu").overwrite().run()
    assert not (again.volume.path / "probabilities").exists()


def test_sums_of_labels_can_be_measured(volume, voxels, model_of, tmp_path):
    model = model_of(decode="threshold_sum")
    labels = segment(volume, model, device="cpu").run()
    found = whole(labels.volume)
    assert np.array_equal(found, Predictor(model, "cpu").labels(voxels))
    assert 3 in np.unique(found)
    assert labels.materials.names == ("air / pore", "leaf", "air / pore + leaf")
    tables = measure(labels, tmp_path / "measures").run()
    assert list(tables.materials["material"]) == list(labels.materials.names)
    by_threshold = segment(volume, model, labels="other", device="cpu", decode="threshold").run()
    assert 3 not in np.unique(whole(by_threshold.volume))


def test_sums_that_cannot_be_read_are_refused_by_the_plan(volume, model_of):
    model = model_of()
    third = {"name": "vein", "mask": 2, "label": 3}
    table = Materials.from_json([*MATERIALS.to_json(), third])
    weights = build("unet", 3).body.state_dict()
    save_model(model.path, replace(model.card, materials=table), weights)
    with pytest.raises(InputError, match="labels 3 would mean"):
        segment(volume, open_model(model.path), device="cpu", decode="threshold_sum")
    assert not (volume.path / "labels").exists()


def test_lower_precision_is_compared_on_a_sample(volume, voxels, model_of):
    model = model_of()
    labels = segment(volume, model, device="cpu", precision="bf16").run()
    sample = voxels[[7, 21, 35, 49, 63]]
    fast, exact = (Predictor(model, "cpu", p).labels(sample) for p in ("bf16", "fp32"))
    assert labels.volume.own["agreement_with_fp32"] == (fast == exact).mean()
    assert 0.5 < (fast == exact).mean() < 1
    plain = segment(volume, model, labels="exact", device="cpu").run()
    assert "agreement_with_fp32" not in plain.volume.own


def test_agreement_is_told_before_anything_is_labelled(volume, voxels, model_of, monkeypatch):
    monkeypatch.setattr(agreement, "ENOUGH", 1.1)
    heard, where = [], Where(Box((40, 0, 0), (70, 20, 24)), skip_below=254)
    model = model_of()
    plan = segment(volume, model, device="cpu", precision="bf16", where=where)
    places = [z for z in (43, 49, 55, 61, 67) if voxels[z].max() > 254]
    assert 0 < len(places) < 5
    fast, exact = (Predictor(model, "cpu", p).labels(voxels[places]) for p in ("bf16", "fp32"))
    share = (fast == exact).mean()
    labels = plan.run(listen=heard.append)
    assert labels.volume.own["agreement_with_fp32"] == share
    warned = next(n for n, event in enumerate(heard) if event.note.startswith("WARNING"))
    assert f"only {100 * share:.3f} % of the labels" in heard[warned].note
    assert all(event.done == 0 and event.usage is None for event in heard[:warned])
    assert {event.block for event in heard if event.note} == {0}


def test_scans_unlike_the_training_are_told_or_refused(volume, model_of):
    model = model_of(spacing_um=(2.0, 2.0, 2.0))
    plan = segment(volume, model, device="cpu")
    assert "WARNING: 0.safetensors: the model was trained on voxels of 2 x 2 x 2 um" in str(plan)
    with pytest.raises(InputError, match="--strict"):
        segment(volume, model, device="cpu", strict=True)
    segment(volume, model_of(1, spacing_um=(1.0, 1.0, 1.0)), device="cpu", strict=True)


def test_the_command_line_says_all_of_it(volume, model_of, monkeypatch):
    paths = [str(model_of(seed, spacing_um=(2.0, 2.0, 2.0)).path) for seed in range(2)]
    command = ["segment", str(volume.path), *paths, "--precision", "bf16", "--gpus", "0"]
    result = CliRunner().invoke(app, [*command, "--probabilities", "--cluster", "serial"])
    assert result.exit_code == 0, result.stderr
    assert "equal to fp32" in result.stdout
    share = open_volume(volume.path / "labels/tissue").own["agreement_with_fp32"]
    warning = f"WARNING: only {100 * share:.3f} % of the labels"
    assert (warning in result.stderr) == (share < agreement.ENOUGH)
    monkeypatch.setattr(agreement, "ENOUGH", 1.1)
    result = CliRunner().invoke(app, [*command, "--overwrite", "--cluster", "serial"])
    assert warning in result.stderr
    assert "trained on voxels of 2 x 2 x 2 um" in result.stderr
    refused = CliRunner().invoke(app, [*command, "--labels", "b", "--strict"])
    assert refused.exit_code == 3
    assert "--strict" in refused.stderr
