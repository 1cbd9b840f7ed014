"""train: from pairs to a model file, the same whether or not it was interrupted."""

import math
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from xctvol.errors import InputError, PlanError, UsageError
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import load_weights, open_model, read_recipe
from xctvol.model.predict import Predictor
from xctvol.model.scores import MaterialScores, confusion
from xctvol.pairs import Annotated, Pairs, open_pairs
from xctvol.stages.train import train
from xctvol.stages.train.fit import DivergedError, rng_of
from xctvol.stages.train.log import read_log
from xctvol.stages.train.replicate import _sample
from xctvol.stages.train.select import choose
from xctvol.stages.train.settings import Settings, TrainOptions, settings_for
from xctvol.stages.train.splits import split_pairs
from xctvol.volume import Window

SMALL = {"architecture": "unet", "crop": 32, "batch": 4, "device": "cpu"}


class StoppedError(Exception):
    pass


def test_every_setting_is_an_option():
    options = {"replicates", *TrainOptions.__annotations__}
    assert options == {field.name for field in fields(Settings)}


def stop_after(epoch):
    def listen(progress):
        if progress.done == epoch and "loss" in progress.note:
            raise StoppedError

    return listen


def test_a_model_learns_and_says_how(pairs, tmp_path):
    path = tmp_path / "disks.safetensors"
    plan = train(pairs, path, epochs=12, **SMALL)
    assert "4 pairs: 3 to learn from, 1 to choose" in str(plan)
    notes = []
    (model,) = plan.run(listen=lambda p: notes.append((p.done, p.note)))
    assert model == open_model(path)
    assert model.card.probability == "softmax"
    record = model.card.training
    assert len(record.losses) == 12
    best = min(record.losses, key=lambda losses: losses.validation)
    assert record.best_epoch in (record.losses.index(best) + 1, 12)
    assert ("last" in record.kept) <= (record.best_epoch == 12)
    assert best.validation < record.losses[0].validation
    assert "running" in record.scores
    assert set(record.scores) <= {"running", "running, last epoch"}
    assert record.scores[record.kept] == max(record.scores.values()) > 0.9
    assert sorted((*record.trained_on, *record.validated_on)) == ["s0", "s1", "s2", "s3"]
    assert model.card.grey.dtype == "uint16"
    assert read_recipe(path) == plan.recipe
    assert (1, f"loss {record.losses[0].training:.3f}, ") == (notes[1][0], notes[1][1][:12])
    assert not plan.product.work.exists()
    assert scored(model, pairs, record.validated_on) == pytest.approx(record.scores[record.kept])


def test_the_best_statistics_are_kept(pairs, tmp_path, monkeypatch):
    (tmp_path / "normal.py").write_text(
        "import torch\ndef network(materials):\n    return torch.nn.Sequential("
        "torch.nn.Conv2d(1, 8, 5, padding=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),"
        " torch.nn.Conv2d(8, materials, 5, padding=2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = {**SMALL, "architecture": "normal:network", "learning_rate": 1e-2, "epochs": 6}
    (model,) = train(pairs, tmp_path / "m.safetensors", **options).run()
    record = model.card.training
    names = ("running", "recalibrated", "batch")
    last = {f"{name}, last epoch" for name in names}
    assert {*names} <= {*record.scores} <= {*names, *last}
    assert record.scores[record.kept] == max(record.scores.values())
    assert record.kept.startswith("batch") == (model.card.norm == "batch")
    assert scored(model, pairs, record.validated_on) == pytest.approx(record.scores[record.kept])


def scored(model, pairs, names):
    predictor = Predictor(model, "cpu")
    counts = np.zeros((2, 3), np.int64)
    for pair in pairs:
        if pair.name in names:
            annotated = pair.read(pairs.materials)
            predicted = predictor.indices(annotated.image[None])[0]
            counts += confusion(annotated.indices, predicted, 2)
    return float(MaterialScores.of(counts).macro_f1)


@pytest.mark.parametrize(
    "chosen",
    [
        {"crop": 16, "batch": 2},
        {"crop": 0, "batch": 1},
        {"loss": "dice", "schedule": "cosine", "jitter": 0.3, "accumulate": 2},
        {"loss": "balanced", "checkpointing": True, "patience": 2},
    ],
)
def test_an_interrupted_run_ends_as_an_undisturbed_one(pairs, tmp_path, chosen):
    options = {**SMALL, **chosen, "epochs": 3}
    undisturbed, stopped = (train(pairs, tmp_path / n / "m.safetensors", **options) for n in "ab")
    undisturbed.run()
    for epoch in (1, 2):
        with pytest.raises(StoppedError):
            stopped.run(listen=stop_after(epoch))
        assert not stopped.product.path.exists()
    done = []
    stopped.run(listen=lambda p: done.append(p.done))
    assert done[0] == 2
    for name in ("m.safetensors", "m.epochs.csv", "m.epochs.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_log_tells_of_every_epoch(pairs, tmp_path):
    path = tmp_path / "m.safetensors"
    plan = train(pairs, path, epochs=4, schedule="cosine", learning_rate=4e-3, **SMALL)
    (model,) = plan.run()
    log = read_log(tmp_path / "m.epochs.csv")
    assert [epoch.epoch for epoch in log] == [1, 2, 3, 4]
    losses = [(epoch.training_loss, epoch.validation_loss) for epoch in log]
    record = model.card.training
    assert losses == [(each.training, each.validation) for each in record.losses]
    assert [epoch.learning_rate for epoch in log] == pytest.approx(
        [2e-3 * (1 + math.cos(math.pi * part)) for part in (0, 0.25, 0.5, 0.75)]
    )
    best = min(log, key=lambda epoch: epoch.validation_loss)
    assert best.macro_f1 == pytest.approx(record.scores["running"])
    assert log[record.best_epoch - 1].macro_f1 == pytest.approx(record.scores[record.kept])
    with Image.open(tmp_path / "m.epochs.png") as figure:
        assert len(np.unique(np.asarray(figure))) > 10
    plan.product.remove()
    assert not list(tmp_path.glob("m.*"))


def test_patience_ends_a_training_that_does_not_get_better(pairs, tmp_path):
    """It ends where the patient one first went two epochs without a smaller loss."""
    options = {**SMALL, "learning_rate": 3e-2, "epochs": 30}
    (patient,) = train(pairs, tmp_path / "a.safetensors", **options).run()
    (hasty,) = train(pairs, tmp_path / "b.safetensors", patience=2, **options).run()
    losses = [each.validation for each in patient.card.training.losses]
    expected = next(
        done for done in range(3, 31) if min(range(done), key=lambda i: losses[i]) == done - 3
    )
    assert expected < 30
    assert hasty.card.training.losses == patient.card.training.losses[:expected]
    assert hasty.card.training.best_epoch in (expected - 2, expected)


def test_a_network_may_see_slices_at_a_part_of_their_size(pairs, tmp_path):
    """It learns, validates and predicts at that size, and its labels come back at full size."""
    options = {**SMALL, "crop": 16, "epochs": 20, "scale": 0.5}
    (model,) = train(pairs, tmp_path / "m.safetensors", **options).run()
    record = model.card.training
    assert model.card.scale == record.options["scale"] == 0.5
    assert record.scores[record.kept] > 0.8
    assert scored(model, pairs, record.validated_on) == pytest.approx(record.scores[record.kept])
    with pytest.raises(UsageError, match=r"scale 1.5 is not possible: it must be above 0"):
        train(pairs, tmp_path / "n.safetensors", **{**options, "scale": 1.5})


def test_annotation_is_seen_where_the_centers_of_pixels_lie(pairs):
    card = Card("unet", pairs.materials, GreyScale("uint16", Window(0, 9), 0.5, 0.3), scale=0.5)
    indices = np.arange(7 * 9).reshape(7, 9).astype(np.uint8)
    sample = _sample(Annotated(np.zeros((7, 9), np.uint16), indices), card)
    assert sample.image.shape == (3, 4)
    # three parts of 7 rows have their centers at 1.2, 3.5 and 5.8; four of 9 at 1.1, 3.4, 5.6, 7.9
    assert np.array_equal(sample.indices, indices[[1, 3, 5]][:, [1, 3, 5, 7]])


def test_weights_to_start_from_are_not_what_is_replaced(pairs, tmp_path):
    path = tmp_path / "m.safetensors"
    train(pairs, path, epochs=1, **SMALL).run()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is read by this run, and replacing"):
        train(pairs, path, epochs=2, weights=path, **SMALL).overwrite().run()
    assert path.read_bytes() == before


def test_other_losses_learn_too(pairs, tmp_path):
    """Dice goes on from another one: from random weights it often ends where all is ground."""
    weights = None
    for loss in ("bce", "dice"):
        options = {**SMALL, "epochs": 12, "loss": loss, "weights": weights}
        (model,) = train(pairs, tmp_path / f"{loss}.safetensors", **options).run()
        record, weights = model.card.training, model.path
        assert record.options["loss"] == loss
        assert model.card.probability == "sigmoid"
        assert record.scores[record.kept] > 0.9
    losses = [each.training for each in record.losses]
    assert losses[-1] < 0.8 * losses[0]


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
    assert set(model.card.training.scores) <= {"running", "running, last epoch"}
    with pytest.raises(StoppedError):
        stopped.run(listen=stop_after(1))
    stopped.run()
    assert stopped.product.path.read_bytes() == undisturbed.product.path.read_bytes()


def test_each_scan_is_left_out_by_one_model(pairs, tmp_path):
    scans = ("leaf-1", "leaf-2", "leaf-1", "leaf-3")
    table = tuple(replace(p, scan=scan) for p, scan in zip(pairs, scans, strict=True))
    leaves = Pairs(pairs.folder, pairs.materials, table)
    options = {**SMALL, "epochs": 1, "split": "leave-one-scan-out"}
    plan = train(leaves, tmp_path / "leaf.safetensors", **options)
    assert "2 (leaf-2, leaf-3) to learn from, 2 (leaf-1) to choose" in str(plan)
    records = [model.card.training for model in plan.run()]
    assert [record.validated_on for record in records] == [("s0", "s2"), ("s1",), ("s3",)]
    assert {record.options["split"] for record in records} == {"leave-one-scan-out"}
    with pytest.raises(InputError, match=r"all 4 pairs in .* are of one scan, s, so they cannot"):
        train(pairs, tmp_path / "m.safetensors", **{**SMALL, "split": "scan"})


def test_sparse_marks_train_and_score(pairs, tmp_path):
    """A few pixels of each disk and ground, the rest left out: enough for whole disks."""
    rng = np.random.default_rng(0)
    for pair in pairs:
        mask = tifffile.imread(pair.files[1])
        mask[rng.random(mask.shape) > 0.05] = 7
        tifffile.imwrite(pair.files[1], mask)
    sparse = open_pairs(pairs.folder, replace(pairs.materials, ignore=((7,),)))
    path = tmp_path / "disks.safetensors"
    plan = train(sparse, path, epochs=40, **SMALL)
    assert re.search(r"9[45]\.\d% of the pixels are not annotated", str(plan))
    (model,) = plan.run()
    assert open_model(path).card.materials.ignore == ((7,),)
    record = model.card.training
    assert record.scores[record.kept] > 0.9
    assert scored(model, sparse, record.validated_on) == pytest.approx(record.scores[record.kept])


def test_replicates_differ_and_are_numbered(pairs, tmp_path):
    plan = train(pairs, tmp_path / "leaf.safetensors", epochs=1, replicates=2, **SMALL)
    models = plan.run()
    assert [model.path.name for model in models] == ["leaf-01.safetensors", "leaf-02.safetensors"]
    first, second = (model.card.training for model in models)
    assert first.losses != second.losses
    splits = [split_pairs(pairs, Settings(), r, rng_of(Settings(), r, 0))[0] for r in range(10)]
    assert len({tuple(pair.name for pair in learning) for learning in splits}) > 2
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
        with pytest.raises(PlanError, match="was not made by xctvol"):
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
        (
            {"loss": "mse"},
            "loss mse is not possible: it must be one of bce, cross-entropy, balanced, dice",
        ),
        ({"schedule": "step"}, "schedule step is not possible"),
        ({"jitter": 1.5}, "jitter 1.5 is not possible: it must be from 0 to below 1"),
        ({"patience": 0}, "patience 0"),
        ({"accumulate": 0}, "accumulate 0"),
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"split": "leaf"}, "split leaf is not possible: it must be one of slice, scan, leave-one"),
        ({"crop": 0}, "a batch of 4 whole images"),
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
        pair.files[1].write_bytes(pairs[0].files[1].read_bytes())
        pair.image.write_bytes(pairs[0].image.read_bytes())
    materials = type(pairs.materials).from_json(
        [*pairs.materials.to_json(), {"name": "vein", "mask": 9, "label": 3}]
    )
    plan = train(open_pairs(pairs.folder, materials), tmp_path / "m.safetensors", **SMALL)
    assert re.search(r"WARNING: no mask in .*pairs shows vein: .* take it out", str(plan))


def test_a_material_that_only_validation_shows_is_said(pairs, tmp_path):
    """Only s1 shows disks: whichever replicate keeps it for validation cannot learn them."""
    for pair in pairs:
        if pair.name != "s1":
            mask = tifffile.imread(pair.files[1])
            tifffile.imwrite(pair.files[1], np.zeros_like(mask))
    plan = train(pairs, tmp_path / "m.safetensors", replicates=8, **SMALL)
    said = re.search(r"disk is shown by .* \(as .*s1.tif\), so that replicate (\d)", str(plan))
    settings = settings_for([], **SMALL, epochs=1, replicates=8)
    without = [
        r + 1
        for r in range(8)
        if "s1" in [p.name for p in split_pairs(pairs, settings, r, rng_of(settings, r, 0))[1]]
    ]
    assert int(said[1]) == without[0]
    assert "annotate it on more slices" in str(plan)


def test_choosing_leaves_the_draft_of_another_run_alone(pairs, tmp_path):
    (model,) = train(pairs, tmp_path / "m.safetensors", epochs=1, **SMALL).run()
    (tmp_path / "work").mkdir()
    draft = tmp_path / "work/model.safetensors"
    draft.write_bytes(b"of another run of this training, which is in use already")
    batches, annotated = [torch.zeros(1, 1, 32, 32)], [next(iter(pairs)).read(pairs.materials)]
    epochs = {1: load_weights(model.path)}
    choose(model.card, epochs, batches, annotated, "cpu", draft.parent)
    assert draft.read_bytes().startswith(b"of another run")
    assert list(draft.parent.iterdir()) == [draft]
