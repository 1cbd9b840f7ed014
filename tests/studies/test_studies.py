"""study: many trainings, one table, two figures, and the best model."""

import csv
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import xctvol as xv
from xctvol.errors import InputError, PlanError, UsageError
from xctvol.execution import Dask
from xctvol.model.file import open_model
from xctvol.pairs import Pairs
from xctvol.stages.evaluate import evaluate
from xctvol.studies import open_study, study
from xctvol.studies.intervals import Mean
from xctvol.studies.product import Trial
from xctvol.studies.trial import annotated_by

SMALL = {"architecture": "unet", "crop": 16, "batch": 4, "device": "cpu"}
QUICK = {**SMALL, "scans": [1, 2], "epochs": [1, 2], "replicates": 1}


class StoppedError(Exception):
    pass


def files(folder):
    """The content of all that a study leaves, by name; nothing hidden is left."""
    assert not list(folder.glob(".*"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_every_trial_is_trained_and_scored(leaves, held_out, tmp_path):
    plan = study(leaves, held_out, tmp_path / "study", **QUICK)
    assert "4 trainings: 1, 2 scans, 1, 2 epochs, 1 replicates each" in str(plan)
    assert plan.stages[0].total == 2 * (1 + 2)
    kept = []

    def count(progress):
        kept.append(len(list((tmp_path / "study" / ".xctvol").glob("models/*/m*.safetensors"))))

    found = plan.run(listen=count)
    assert max(kept) == 2  # the best so far and the last; others are deleted
    assert found == open_study(tmp_path / "study")
    with open(tmp_path / "study" / "study.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["scans", "epochs", "replicate", "material", "metric", "value"]
    trials = [(s, e, 1) for s in (1, 2) for e in (1, 2)]
    for metric in ("f1", "iou", "image_mean_f1"):
        for material in ("ground", "disk"):
            mine = [r for r in rows if (r["metric"], r["material"]) == (metric, material)]
            assert [
                (int(r["scans"]), int(r["epochs"]), int(r["replicate"])) for r in mine
            ] == trials
    macro = {
        Trial(int(r["scans"]), int(r["epochs"]), int(r["replicate"])): float(r["value"])
        for r in rows
        if r["metric"] == "macro_f1"
    }
    assert found.best == max(macro, key=macro.get)
    assert len(set(macro.values())) > 2  # no two trials share a training
    model = open_model(found.model)
    scores = evaluate([model], held_out, tmp_path / "again", device="cpu").run()
    assert scores.macro_f1["best"] == pytest.approx(macro[found.best])
    assert len(model.card.training.losses) == found.best.epochs
    assert set(files(tmp_path / "study")) == {
        "study.csv", "study.json", "best.safetensors", "by_scans.png", "by_epochs.png"
    }  # fmt: skip
    for name in ("by_scans", "by_epochs"):
        with Image.open(tmp_path / "study" / f"{name}.png") as figure:
            assert len(np.unique(np.asarray(figure))) > 10
    with pytest.raises(PlanError, match="other replicates"):
        study(leaves, held_out, tmp_path / "study", **{**QUICK, "replicates": 3}).run()


@pytest.mark.slow
def test_a_stopped_study_continues(leaves, held_out, tmp_path):
    """Finished trials are not done again, the one at hand goes on, and the files are equal."""
    options = {**QUICK, "scans": [2], "epochs": [2], "replicates": 2}
    undisturbed, stopped = (study(leaves, held_out, tmp_path / n, **options) for n in "ab")
    undisturbed.run()

    def stop(progress):
        if (progress.block, progress.done) == (1, 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        stopped.run(listen=stop)
    assert not (tmp_path / "b" / "study.json").exists()
    seen = []
    stopped.run(listen=lambda p: seen.append((p.block, p.done)))
    assert seen[0] == (1, 1)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert stopped.finished()


KILLED = """
import sys
import torch
from xctvol.materials import Materials
from xctvol.pairs import open_pairs
from xctvol.studies import study
torch.set_num_threads(1)
two = Materials.from_json([{"name": "ground", "mask": 0}, {"name": "disk", "mask": 255}])
leaves, held_out = (open_pairs(folder, two) for folder in sys.argv[1:3])
study(leaves, held_out, sys.argv[3], scans=[2], epochs=[8], replicates=2, architecture="unet",
      crop=16, batch=4, device="cpu").run(listen=lambda p: print(p.block, p.done, flush=True))
"""


@pytest.mark.slow
def test_kill_9_changes_nothing(leaves, held_out, tmp_path):
    outputs = [tmp_path / name for name in "ab"]
    commands = [
        [sys.executable, "-c", KILLED, str(leaves.folder), str(held_out.folder), str(output)]
        for output in outputs
    ]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(commands[0], check=True, timeout=120, capture_output=True, env=alone)
    for last in ("0 4", "1 5"):
        with subprocess.Popen(commands[1], stdout=subprocess.PIPE, text=True, env=alone) as run:
            while run.stdout.readline().strip() != last:
                pass
            os.kill(run.pid, signal.SIGKILL)
        assert not (outputs[1] / "study.json").exists()
    subprocess.run(commands[1], check=True, timeout=120, capture_output=True, env=alone)
    assert files(outputs[0]) == files(outputs[1])


@pytest.mark.slow
def test_workers_give_the_same(leaves, held_out, tmp_path):
    options = {**QUICK, "scans": [1], "epochs": [2], "replicates": 2}
    one, many = (study(leaves, held_out, tmp_path / name, **options) for name in "ab")
    one.run()
    many.run(Dask(workers=2))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_slices_count_where_all_are_of_one_scan(leaves, held_out, tmp_path):
    one = Pairs(leaves.folder, leaves.materials, tuple(p for p in leaves if p.scan == "leaf-b"))
    plan = study(one, held_out, tmp_path / "s", **{**QUICK, "scans": [2]})
    assert "2 slices, 1, 2 epochs" in str(plan)
    with pytest.raises(InputError, match=r"another one has to choose .* begin with 2 slices"):
        study(one, held_out, tmp_path / "s", **QUICK)


@pytest.mark.slow
def test_each_replicate_leaves_another_scan_out(leaves, held_out, tmp_path):
    left = set()
    options = {**SMALL, "scans": [3], "epochs": [1], "replicates": 3, "split": "leave-one-scan-out"}
    plan = study(leaves, held_out, tmp_path / "study", **options)
    task = plan.stages[0].task
    for block in plan.stages[0].blocks:
        task(block)
        card = open_model(task.model(block.index)).card
        left |= {name.partition("/")[0] for name in card.training.validated_on}
    assert left == {*leaves.scans}


def test_scans_are_annotated_one_after_the_other(leaves):
    """Each replicate in an order of its own; more scans hold those of fewer."""
    orders = set()
    for replicate in range(1, 9):
        before = set()
        for count in (1, 2, 3):
            chosen = annotated_by(Trial(count, 1, replicate), leaves, "scans", 0)
            assert len(chosen.scans) == count
            assert len(chosen) == 2 * count
            assert before < set(chosen.scans)
            before = set(chosen.scans)
            orders.add(chosen.scans)
    assert {len(order) for order in orders} == {1, 2, 3}
    assert sum(len(order) == 1 for order in orders) > 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scans": [4]}, InputError, "holds 3 annotated scans, so 4 cannot be studied"),
        ({"scans": []}, UsageError, "numbers of scans from 1 on"),
        ({"epochs": [0, 1]}, UsageError, "numbers of epochs from 1 on"),
        ({"replicates": 0}, UsageError, "numbers of replicates from 1 on"),
        ({"split": "scan"}, UsageError, "one scan cannot be split by scan"),
        ({"loss": "mse"}, UsageError, "loss mse is not possible"),
    ],
)
def test_what_cannot_be_studied(leaves, held_out, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        study(leaves, held_out, tmp_path / "s", **{**QUICK, **options})
    assert not (tmp_path / "s").exists()


def test_held_out_slices_must_be_new(leaves, held_out, tmp_path):
    shutil.copy(leaves[3].image, held_out[1].image)
    with pytest.raises(InputError, match=r"t2.tif is the same image as .*leaf-b.*s2.tif"):
        study(leaves, held_out, tmp_path / "s", **QUICK)


def test_a_folder_of_somebody_else_is_not_touched(leaves, held_out, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("mine")
    with pytest.raises(PlanError, match="holds no study"):
        study(leaves, held_out, tmp_path / "s", **QUICK).run()
    with pytest.raises(InputError, match="holds no finished study"):
        open_study(tmp_path / "s")


def test_means_and_their_intervals():
    values = [0.7, 0.8, 0.85, 0.6, float("nan")]
    mean = Mean.of(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values[:4]), stats.sem(values[:4]))
    assert (mean.value - mean.margin, mean.value + mean.margin) == pytest.approx((low, high))
    assert mean.count == 4
    assert Mean.of([0.5]).value == 0.5
    assert np.isnan(Mean.of([0.5]).margin)
    assert Mean.of([float("nan")]).count == 0


def test_the_public_names(leaves):
    assert xv.study is study
    assert xv.open_study is open_study
