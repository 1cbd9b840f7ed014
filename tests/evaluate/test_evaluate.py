"""evaluate: counts by hand, tables that can be read, and refusals."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from xctvol.errors import InputError, PlanError, UsageError
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale, Training
from xctvol.model.file import load_weights, open_model, save_model
from xctvol.pairs import open_pairs
from xctvol.stages.evaluate import evaluate, open_scores
from xctvol.volume.window import Window

THREE = Materials.from_json([{"name": n, "mask": i} for i, n in enumerate(("a", "b", "absent"))])
FACTORY = "def threshold(n):\n    import torch\n    return torch.nn.Conv2d(1, n, 1)\n"


@pytest.fixture
def threshold(tmp_path, monkeypatch):
    """A model that says b where the grey value is above a limit, else a."""
    (tmp_path / "thresholds.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)

    def make(limit, name="model"):
        weights = {
            "weight": torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1, 1),
            "bias": torch.tensor([0.0, -(limit + 0.5) / 255, -9.0]),
        }
        card = Card("thresholds:threshold", THREE, GreyScale("uint8", Window(0.0, 255.0), 0.0, 1.0))
        save_model(tmp_path / f"{name}.safetensors", card, weights)
        return open_model(tmp_path / f"{name}.safetensors")

    return make


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size).astype(np.uint8) for size in ((20, 30), (25, 16))]


@pytest.fixture
def pairs(tmp_path, images):
    """Annotated b above 100, but for one image that is all a."""
    for i, image in enumerate(images):
        mask = (image > 100).astype(np.uint8) * (i == 0)
        for kind, pixels in (("images", image), ("masks", mask)):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "pairs" / kind / f"s{i}.tif", pixels)
    return open_pairs(tmp_path / "pairs", THREE)


def by_hand(annotated, predicted, k):
    """Accuracy, precision, recall and F1 of material k."""
    tp = np.sum((predicted == k) & (annotated == k))
    fp = np.sum((predicted == k) & (annotated != k))
    fn = np.sum((predicted != k) & (annotated == k))
    accuracy = 1 - (fp + fn) / annotated.size
    return [accuracy, tp / (tp + fp), tp / max(tp + fn, 1), tp / (tp + (fp + fn) / 2)]


def test_scores_equal_counting_by_hand(threshold, pairs, images, tmp_path):
    worse, better = threshold(180, "worse"), threshold(101, "better")
    scores = evaluate([worse, better], pairs, tmp_path / "scores", device="cpu").run()
    assert scores.best == better.path
    assert str(scores) == str(open_scores(tmp_path / "scores"))  # as NaN differs from itself
    rows = {(row.model, row.material): row for row in scores.table}
    assert list(rows) == [(m, k) for m in ("worse", "better") for k in THREE.names]
    annotated = [(image > 100) * (i == 0) for i, image in enumerate(images)]
    for name, limit in (("worse", 180), ("better", 101)):
        predicted = [image > limit for image in images]
        together = [np.concatenate([x.ravel() for x in part]) for part in (annotated, predicted)]
        for k in (0, 1):
            row, pooled = rows[name, "ab"[k]], by_hand(*together, k)
            found = [row.accuracy, row.precision, row.recall, row.f1]
            assert found == pytest.approx(pooled)
            assert row.iou == pytest.approx(row.f1 / (2 - row.f1))
            each = [by_hand(a, p, k) for a, p in zip(annotated, predicted, strict=True)]
            assert row.image_mean_f1 == pytest.approx(np.mean([scores[3] for scores in each]))
            assert row.pixels == np.sum(together[0] == k)
        assert np.isnan(rows[name, "absent"].f1)
        assert rows[name, "absent"].accuracy == 1
        macro = np.mean([rows[name, "a"].f1, rows[name, "b"].f1])
        assert scores.macro_f1[name] == pytest.approx(macro)
    # no b was annotated in the second image, so its recall there does not exist
    assert rows["better", "b"].image_mean_recall == pytest.approx(
        by_hand(annotated[0], images[0] > 101, 1)[2]
    )


def table(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def test_tables_add_up(threshold, pairs, images, tmp_path):
    evaluate([threshold(101)], pairs, tmp_path / "scores", device="cpu").run()
    confusion = table(tmp_path / "scores", "confusion.csv")
    assert sum(int(row["pixels"]) for row in confusion) == sum(image.size for image in images)
    wrong = [r for r in confusion if (r["annotated"], r["predicted"]) == ("a", "b")]
    assert int(wrong[0]["pixels"]) == np.sum(images[1] > 101)
    rows = table(tmp_path / "scores", "per_image.csv")
    assert [(r["image"], r["material"]) for r in rows[:4]] == [
        ("s0", "a"), ("s0", "b"), ("s0", "absent"), ("s1", "a"),
    ]  # fmt: skip  # one row of pairs
    assert rows[2]["f1"] == ""
    assert int(rows[4]["predicted_pixels"]) == np.sum(images[1] > 101)
    record = json.loads((tmp_path / "scores" / "evaluate.json").read_text())
    assert record["recipe"]["verb"] == "evaluate"
    cells = table(tmp_path / "scores", "scores.csv")
    assert [row["material"] for row in record["scores"]] == ["a", "b", "absent"]
    for row, cell in zip(record["scores"], cells, strict=True):
        assert {k: "" if v is None else str(v) for k, v in row.items()} == cell
    with Image.open(tmp_path / "scores" / "scores.png") as figure:
        assert figure.format == "PNG"
        assert len(np.unique(np.asarray(figure))) > 10
    assert not (tmp_path / "scores" / ".xctvol").exists()


def test_pixels_without_annotation_do_not_count(threshold, images, tmp_path):
    """Annotated b above 100 in the left half only, and one slice in nothing but a corner."""
    for i, image in enumerate(images):
        mask = (image > 100).astype(np.uint8)
        mask[:, 8:] = 77
        if i == 1:
            mask[5:] = 77
        for kind, pixels in (("images", image), ("masks", mask)):
            (tmp_path / "sparse" / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "sparse" / kind / f"s{i}.tif", pixels)
    materials = replace(THREE, ignore=((77,),))
    pairs = open_pairs(tmp_path / "sparse", materials)
    scores = evaluate([threshold(150)], pairs, tmp_path / "scores", device="cpu").run()
    parts = [images[0][:, :8], images[1][:5, :8]]
    seen = np.concatenate([part.ravel() for part in parts])
    for k in (0, 1):
        row = scores.table[k]
        assert [row.accuracy, row.precision, row.recall, row.f1] == pytest.approx(
            by_hand(seen > 100, seen > 150, k)
        )
        assert row.pixels == np.sum((seen > 100) == k)
    confusion = table(tmp_path / "scores", "confusion.csv")
    assert sum(int(row["pixels"]) for row in confusion) == seen.size


def test_pixels_that_reach_no_threshold_are_wrong(threshold, pairs, images, tmp_path):
    """Where b is not, the probability of a is 0.5 everywhere, less than its threshold."""
    model = threshold(150)
    high = Materials((replace(THREE.table[0], threshold=0.6), *THREE.table[1:]))
    model = replace(model, card=replace(model.card, materials=high))
    save_model(model.path, model.card, load_weights(model.path))
    scores = evaluate(
        [open_model(model.path)], pairs, tmp_path / "scores", device="cpu", decode="threshold"
    ).run()
    annotated = np.concatenate([(x > 100).ravel() * (i == 0) for i, x in enumerate(images)])
    predicted = np.where(np.concatenate([x.ravel() for x in images]) > 150, 1, 3)
    a, b, _ = scores.table
    assert (a.recall, a.f1, a.pixels) == (0, 0, np.sum(annotated == 0))
    assert np.isnan(a.precision), "a was never predicted"
    assert [b.accuracy, b.precision, b.recall, b.f1] == pytest.approx(
        by_hand(annotated, predicted, 1)
    )
    counts = {
        (row["annotated"], row["predicted"]): int(row["pixels"])
        for row in table(tmp_path / "scores", "confusion.csv")
    }
    assert counts["b", "unlabelled"] == np.sum((annotated == 1) & (predicted == 3))
    assert sum(counts.values()) == annotated.size


def test_models_are_scored_together_as_one_more(threshold, pairs, images, tmp_path):
    low, high = threshold(20, "low"), threshold(230, "high")
    scores = evaluate([low, high], pairs, tmp_path / "scores", device="cpu", together=True).run()
    assert [(row.model, row.kind) for row in scores.table[::3]] == [
        ("low", "model"), ("high", "model"), ("together", "ensemble"),
    ]  # fmt: skip  # one row of pairs
    assert scores.best in (low.path, high.path)
    alone = evaluate([low, high], pairs, tmp_path / "alone", device="cpu").run()
    assert str(alone.table) == str(scores.table[:6])

    grey = np.concatenate([image.ravel() for image in images])
    chances = [1 / (1 + np.exp((limit + 0.5 - grey) / 255)) for limit in (20, 230)]
    predicted = np.mean(chances, axis=0) > 0.5  # which is the probability of a
    annotated = np.concatenate([(x > 100).ravel() * (i == 0) for i, x in enumerate(images)])
    row = scores.table[7]
    assert [row.accuracy, row.precision, row.recall, row.f1] == pytest.approx(
        by_hand(annotated, predicted, 1)
    )
    with pytest.raises(UsageError, match="give several models"):
        evaluate([low], pairs, tmp_path / "one", device="cpu", together=True)


def test_models_of_one_name_are_told_apart(threshold, pairs, tmp_path):
    one, two = threshold(50), threshold(100, "other")
    (tmp_path / "sub").mkdir()
    two = open_model(two.path.rename(tmp_path / "sub" / one.path.name))
    scores = evaluate([one, two], pairs, tmp_path / "scores", device="cpu").run()
    assert list(scores.macro_f1) == [str(one.path), str(two.path)]
    assert scores.best == two.path


def test_a_second_run_finds_everything_done(threshold, pairs, tmp_path):
    model = threshold(101)
    plan = evaluate([model], pairs, tmp_path / "scores", device="cpu")
    first = plan.run()
    before = {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()}
    again = evaluate([model], pairs, tmp_path / "scores", device="cpu").run()
    assert str(again) == str(first)
    assert {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()} == before
    with pytest.raises(PlanError, match="other models"):
        evaluate([threshold(99)], pairs, tmp_path / "scores", device="cpu").run()


def test_images_seen_in_training_are_said(threshold, pairs, tmp_path):
    model = threshold(101)
    training = Training({}, 0, ("s0",), ("x",), (), 1, {}, "running", {})
    seen = replace(model, card=replace(model.card, training=training))
    assert "trained or chosen on 1 images" in str(evaluate([seen], pairs, tmp_path / "scores"))


def test_what_does_not_fit_is_refused(threshold, pairs, tmp_path):
    model = threshold(101)
    swapped = open_pairs(pairs.folder, Materials(THREE.table[::-1]))
    with pytest.raises(InputError, match=r"knows a, b, absent but .* show absent, b, a"):
        evaluate([model], swapped, tmp_path / "scores")
    grey = replace(model.card.grey, dtype="uint16")
    other = replace(model, card=replace(model.card, grey=grey))
    with pytest.raises(InputError, match=r"learned from uint16 images but .* are uint8"):
        evaluate([other], pairs, tmp_path / "scores")
    sums = replace(model, card=replace(model.card, decode="threshold_sum"))
    with pytest.raises(UsageError, match=r"score what it decides by argmax or threshold"):
        evaluate([sums], pairs, tmp_path / "scores")
    with pytest.raises(UsageError, match="no model"):
        evaluate([], pairs, tmp_path / "scores")


def test_a_folder_of_somebody_else_is_not_touched(threshold, pairs, tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "notes.txt").write_text("mine")
    plan = evaluate([threshold(101)], pairs, tmp_path / "scores", device="cpu")
    with pytest.raises(PlanError, match="holds no scores"):
        plan.run()
    with pytest.raises(InputError, match="holds no finished scores"):
        open_scores(tmp_path / "scores")


def test_damaged_scores_are_named(threshold, pairs, tmp_path):
    scores = evaluate([threshold(101)], pairs, tmp_path / "scores", device="cpu").run()
    (scores.path / "scores.csv").write_text("model,material\na,b\n")
    with pytest.raises(InputError, match="are damaged"):
        open_scores(scores.path)
