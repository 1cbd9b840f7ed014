"""train: from pairs to a model file, the same whether or not it was interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from xctvol.errors import InputError, PlanError, UsageError
from xctvol.model.file import open_model, read_recipe
from xctvol.model.predict import Predictor
from xctvol.model.scores import MaterialScores, confusion
from xctvol.pairs import Pairs, open_pairs
from xctvol.stages.train import train
from xctvol.stages.train.fit import DivergedError

SANDSTONE = Path(__file__).resolve().parents[3] / "shared" / "data" / "sandstone"
SMALL = {"architecture": "unet", "crop": 32, "batch": 4, "device": "cpu"}


class StoppedError(Exception):
    pass


def stop_after(epoch):
    def listen(progress):
        if progress.done == epoch and "loss" in progress.note:
            raise StoppedError

    return listen


def test_a_model_learns_and_says_how(pairs, tmp_path):
    path = tmp_path / "disks.safetensors"
    plan = train(pairs, path, epochs=12, **SMALL)
    assert "4 pairs: 2 to learn from, 2 to choose" in str(plan)
    notes = []
    (model,) = plan.run(listen=lambda p: notes.append((p.done, p.note)))
    assert model == open_model(path)
    record = model.card.training
    assert len(record.losses) == 12
    best = min(record.losses, key=lambda losses: losses.validation)
    assert record.losses[record.best_epoch - 1] == best
    assert best.validation < record.losses[0].validation
    assert set(record.scores) == {"running", "recalibrated", "batch"}
    assert record.scores[record.kept] == max(record.scores.values()) > 0.9
    assert (record.kept == "batch") == (model.card.norm == "batch")
    assert sorted((*record.trained_on, *record.validated_on)) == ["s0", "s1", "s2", "s3"]
    assert model.card.grey.dtype == "uint16"
    assert read_recipe(path) == plan.recipe
    assert (1, f"loss {record.losses[0].training:.3f}, ") == (notes[1][0], notes[1][1][:12])
    assert not plan.product.work.exists()
    assert scored(model, pairs, record.validated_on) == pytest.approx(record.scores[record.kept])


def scored(model, pairs, names):
    predictor = Predictor(model, "cpu")
    counts = np.zeros((2, 2), np.int64)
    for pair in pairs:
        if pair.name in names:
            annotated = pair.read(pairs.materials)
            predicted = predictor.indices(annotated.image[None])[0]
            counts += confusion(annotated.indices, predicted, 2)
    return float(MaterialScores.of(counts).macro_f1)


@pytest.mark.parametrize("crop", [{"crop": 16, "batch": 2}, {"crop": None, "batch": 1}])
def test_an_interrupted_run_ends_as_an_undisturbed_one(pairs, tmp_path, crop):
    options = {**SMALL, **crop, "epochs": 3}
    undisturbed, stopped = (train(pairs, tmp_path / n / "m.safetensors", **options) for n in "ab")
    undisturbed.run()
    for epoch in (1, 2):
        with pytest.raises(StoppedError):
            stopped.run(listen=stop_after(epoch))
        assert not stopped.product.path.exists()
    done = []
    stopped.run(listen=lambda p: done.append(p.done))
    assert done[0] == 2
    assert stopped.product.path.read_bytes() == undisturbed.product.path.read_bytes()


def test_dropout_continues_as_well(pairs, tmp_path, monkeypatch):
    (tmp_path / "dropping.py").write_text(
        "import torch\ndef network(materials):\n    return torch.nn.Sequential("
        "torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Dropout(0.5),"
        " torch.nn.Conv2d(4, materials, 1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = {**SMALL, "architecture": "dropping:network", "epochs": 2}
    undisturbed, stopped = (train(pairs, tmp_path / n / "m.safetensors", **options) for n in "ab")
    (model,) = undisturbed.run()
    assert set(model.card.training.scores) == {"running"}
    with pytest.raises(StoppedError):
        stopped.run(listen=stop_after(1))
    stopped.run()
    assert stopped.product.path.read_bytes() == undisturbed.product.path.read_bytes()


def test_replicates_differ_and_are_numbered(pairs, tmp_path):
    plan = train(pairs, tmp_path / "leaf.safetensors", epochs=1, replicates=2, **SMALL)
    models = plan.run()
    assert [model.path.name for model in models] == ["leaf-01.safetensors", "leaf-02.safetensors"]
    first, second = (model.card.training for model in models)
    assert first.losses != second.losses
    assert plan.finished()
    models[1].path.unlink()
    for attempt in (plan, plan.overwrite()):
        with pytest.raises(PlanError, match="some but not all"):
            attempt.run()


def test_other_options_never_replace_a_model_silently(pairs, tmp_path):
    path = tmp_path / "m.safetensors"
    train(pairs, path, epochs=1, **SMALL).run()
    before = path.read_bytes()
    with pytest.raises(PlanError, match="other seed"):
        train(pairs, path, epochs=1, seed=1, **SMALL).run()
    assert path.read_bytes() == before


def test_a_file_of_somebody_else_is_not_touched(pairs, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_text("mine")
    plan = train(pairs, path, epochs=1, **SMALL)
    for attempt in (plan, plan.overwrite()):
        with pytest.raises(PlanError, match="was not made by xctvol train"):
            attempt.run()
    assert path.read_text() == "mine"


def test_a_loss_that_is_not_a_number_stops_the_run(pairs, tmp_path):
    plan = train(pairs, tmp_path / "m.safetensors", epochs=3, learning_rate=1e30, **SMALL)
    with pytest.raises(DivergedError, match=r"in epoch 1 .* smaller learning rate"):
        plan.run()


def test_one_pair_is_not_enough(pairs, tmp_path):
    one = Pairs(pairs.folder, pairs.materials, pairs.table[:1])
    with pytest.raises(InputError, match="at least two"):
        train(one, tmp_path / "m.safetensors", **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs 0 is not possible"),
        ({"replicates": 0}, "replicates 0"),
        ({"validation": 1.0}, "validation 1.0 is not possible: it must be between 0 and 1"),
        ({"crop": None}, "a batch of 4 whole images"),
        ({"architecture": "fcn_resnet102"}, "no architecture"),
        ({"architecture": "deeplabv3_resnet50", "batch": 1}, "cannot learn from batches of 1"),
    ],
)
def test_options_that_make_no_sense(pairs, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        train(pairs, tmp_path / "m.safetensors", **{**SMALL, **options})
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_material_that_no_mask_shows_is_said(pairs, tmp_path):
    for pair in pairs:
        pair.mask.write_bytes(pairs[0].mask.read_bytes())
        pair.image.write_bytes(pairs[0].image.read_bytes())
    materials = type(pairs.materials).from_json(
        [*pairs.materials.to_json(), {"name": "vein", "mask": 9, "label": 3}]
    )
    plan = train(open_pairs(pairs.folder, materials), tmp_path / "m.safetensors", **SMALL)
    assert "no mask shows vein" in str(plan)


KILLED = """
import sys
from xctvol.materials import Materials
from xctvol.pairs import open_pairs
from xctvol.stages.train import train
two = Materials.from_json([{"name": "ground", "mask": 0}, {"name": "disk", "mask": 255}])
train(open_pairs(sys.argv[1], two), sys.argv[2], architecture="unet", crop=32, batch=4, epochs=40,
      device="cpu").run(listen=lambda p: print(p.done, flush=True))
"""


@pytest.mark.slow
def test_kill_9_changes_nothing(pairs, tmp_path):
    paths = [tmp_path / name / "m.safetensors" for name in "ab"]
    commands = [[sys.executable, "-c", KILLED, str(pairs.folder), str(path)] for path in paths]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(commands[0], check=True, timeout=120, capture_output=True, env=alone)
    for epochs in (3, 17):
        with subprocess.Popen(commands[1], stdout=subprocess.PIPE, text=True, env=alone) as run:
            while int(run.stdout.readline()) < epochs:
                pass
            time.sleep(0.02)
            os.kill(run.pid, signal.SIGKILL)
        assert not paths[1].exists()
    subprocess.run(commands[1], check=True, timeout=120, capture_output=True, env=alone)
    assert paths[0].read_bytes() == paths[1].read_bytes()
