"""The pixel forest: its features against scikit-image, what it learns, and its place in scores."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis.extra import numpy as npst
from hypothesis.strategies import integers
from skimage.feature import multiscale_basic_features
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, PlanError
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.pairs import open_pairs
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.evaluate import evaluate, features, open_scores
from xctvol.stages.evaluate.forest import draw
from xctvol.volume.window import Window

LEARNED, HELD_OUT = (6, 18), (10, 14)
FILES = ("scores.csv", "per_image.csv", "confusion.csv", "evaluate.json", "scores.png")


def write_pair(folder, name, image, mask):
    for kind, pixels in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / kind / f"{name}.tif", pixels)


def write_phantom(folder, slices):
    phantom = Phantom((24, 48, 64))
    values = np.array([0, *(material.mask[0][0] for material in PHANTOM_MATERIALS)], np.uint8)
    for z in slices:
        grey, labels = np.empty((1, 48, 64), np.uint16), np.empty((1, 48, 64), np.uint8)
        phantom.read_into(z, z + 1, grey)
        phantom.labels_into(z, z + 1, labels)
        write_pair(folder, f"s{z}", grey[0], values[labels[0]])
    return open_pairs(folder, PHANTOM_MATERIALS)


def write_model(path, materials, dtype):
    """A model that has learned nothing, so that any forest is better."""
    torch.manual_seed(0)
    card = Card("unet", materials, GreyScale(dtype, Window(0.0, 255.0), 0.0, 1.0))
    save_model(path, card, build("unet", len(materials)).body.state_dict())
    return open_model(path)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.safetensors", PHANTOM_MATERIALS, "uint16")


@pytest.fixture
def annotated(tmp_path):
    return write_phantom(tmp_path / "annotated", LEARNED)


@pytest.fixture
def held_out(tmp_path):
    return write_phantom(tmp_path / "held-out", HELD_OUT)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_features_in_bands_are_those_of_the_whole_image(monkeypatch):
    monkeypatch.setattr(features, "_BAND_PIXELS", 1)
    image = np.random.default_rng(0).integers(0, 60_000, (300, 21)).astype(np.uint16)
    bands = list(features.feature_bands(image))
    assert [(rows.start, rows.stop) for rows, _ in bands] == [(0, 132), (132, 264), (264, 300)]
    found = np.concatenate([band for _, band in bands]).reshape(300, 21, features.FEATURES)
    whole = multiscale_basic_features(np.pad(image, 100, mode="edge"), sigma_min=0.5, sigma_max=16)
    np.testing.assert_array_equal(found[..., 0], image)
    np.testing.assert_array_equal(found[..., 1:], whole[100:-100, 100:-100])


def test_a_single_pixel_has_features():
    ((rows, found),) = features.feature_bands(np.array([[7]], np.uint8))
    assert (rows, found.shape) == (slice(0, 1), (1, features.FEATURES))
    assert found[0, 0] == 7


@given(
    indices=npst.arrays(np.uint8, (7, 9), elements=integers(0, 4)),
    most=integers(1, 30),
    seed=integers(0, 9),
)
def test_drawn_pixels_stand_for_all_that_are_annotated(indices, most, seed):
    places, weights = draw(indices, 3, most, np.random.default_rng(seed))
    assert (np.diff(places) > 0).all()
    materials = indices.ravel()[places]
    for index in range(5):
        here = materials == index
        there = np.count_nonzero(indices == index) if index < 3 else 0
        assert here.sum() == min(most, there)
        assert weights[here].sum() == pytest.approx(there)


def test_the_forest_is_one_more_model_but_never_the_best(model, annotated, held_out, tmp_path):
    plan = evaluate([model], held_out, tmp_path / "scores", baseline=annotated, device="cpu")
    assert "sample: 2 slices in 2 blocks" in str(plan)
    scores = plan.run()
    assert str(scores) == str(open_scores(tmp_path / "scores"))
    assert list(scores.macro_f1) == ["model", "pixel forest"]
    assert scores.macro_f1["pixel forest"] > 0.8 > scores.macro_f1["model"]
    assert scores.best == model.path
    kinds = [("model", "model"), ("pixel forest", "baseline")]
    assert [(r.model, r.kind) for r in scores.table] == [k for k in kinds for _ in range(6)]
    for name in FILES[:3]:
        with open(scores.path / name, newline="") as file:
            assert {row["model"] for row in csv.DictReader(file)} == {"model", "pixel forest"}
    assert {*contents(scores.path)} == {*FILES}
    alone = evaluate([model], held_out, tmp_path / "alone", device="cpu").run()
    assert str(alone.table) == str(scores.table[:6])


def test_annotations_of_the_training_folder_decide(model, annotated, held_out, tmp_path):
    def stop(progress):
        if progress.stage.name == "evaluate":
            raise KeyboardInterrupt

    plan = evaluate([model], held_out, tmp_path / "scores", baseline=annotated, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        plan.run(listen=stop)
    mask = annotated[0].files[1]
    pixels = tifffile.imread(mask)
    pixels[:40] = PHANTOM_MATERIALS.table[1].mask[0][0]
    tifffile.imwrite(mask, pixels)
    with pytest.raises(PlanError, match="other baseline"):
        evaluate([model], held_out, plan.product.path, baseline=annotated, device="cpu").run()


def test_pixels_without_annotation_are_not_learned(tmp_path):
    """Bright is b where anything is annotated; elsewhere masks would teach the opposite."""
    materials = Materials.from_json([{"name": "a", "mask": 0}, {"name": "b", "mask": 1}])
    materials = replace(materials, ignore=((77,),))
    image = np.random.default_rng(1).integers(0, 2, (40, 60)).astype(np.uint8) * 200
    mask = (image > 100).astype(np.uint8)
    write_pair(tmp_path / "held-out", "all", image, mask)
    mask[5:] = 77
    write_pair(tmp_path / "sparse", "few", image[::-1], mask[::-1])
    pairs = open_pairs(tmp_path / "held-out", materials)
    model = write_model(tmp_path / "m.safetensors", materials, "uint8")
    plan = evaluate(
        [model], pairs, tmp_path / "scores", device="cpu",
        baseline=open_pairs(tmp_path / "sparse", materials),
    )  # fmt: skip  # as one would type it
    plan.stages[0].task(plan.stages[0].blocks[0])
    with np.load(tmp_path / "scores" / ".xctvol" / "samples" / "000000.npz") as sample:
        assert sample["materials"].size == sample["weights"].sum() == 5 * 60
        np.testing.assert_array_equal(sample["features"][:, 0] > 100, sample["materials"])
    assert plan.run().macro_f1["pixel forest"] == 1


@pytest.mark.slow
def test_threads_and_interruptions_change_nothing(
    model, annotated, held_out, tmp_path, monkeypatch
):
    def run(name, threads, listen=lambda _: None):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        plan = evaluate([model], held_out, tmp_path / name, baseline=annotated, device="cpu")
        return plan.run(listen=listen)

    def stop(progress):
        if (progress.stage.name, progress.block) == ("evaluate", 2):  # the forest's first
            raise KeyboardInterrupt

    whole = contents(run("whole", 1).path)
    with pytest.raises(KeyboardInterrupt):
        run("stopped", 3, stop)
    done = []
    stopped = run("stopped", 3, lambda progress: done.append((progress.stage.name, progress.block)))
    assert done == [("evaluate", 3)]
    assert contents(stopped.path) == whole


def test_what_does_not_fit_is_refused(model, annotated, held_out, tmp_path):
    swapped = open_pairs(annotated.folder, Materials(PHANTOM_MATERIALS.table[::-1]))
    with pytest.raises(InputError, match=r"show vein, .* but those in .* background"):
        evaluate([model], held_out, tmp_path / "scores", baseline=swapped)
    image = tifffile.imread(annotated[0].image)
    mask = tifffile.imread(annotated[0].files[1])
    write_pair(tmp_path / "bytes", "s0", (image >> 8).astype(np.uint8), mask)
    narrow = open_pairs(tmp_path / "bytes", PHANTOM_MATERIALS)
    with pytest.raises(InputError, match=r"hold uint8 but those in .* uint16"):
        evaluate([model], held_out, tmp_path / "scores", baseline=narrow)


def test_slices_that_the_forest_has_seen_are_said(model, annotated, tmp_path):
    plan = evaluate([model], annotated, tmp_path / "scores", baseline=annotated)
    assert "the pixel forest was trained or chosen on 2 images" in str(plan)


def test_without_scikit_learn_it_says_what_to_install(
    model, annotated, held_out, tmp_path, monkeypatch
):
    class Missing:
        @staticmethod
        def find_spec(name, *_):
            if name == "sklearn":
                raise ModuleNotFoundError(name=name)

    known = [name for name in sys.modules if name.partition(".")[0] == "sklearn"]
    for name in (*known, "xctvol.stages.evaluate.forest"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("xctvol.stages.evaluate.forest")
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    arguments = ("evaluate", model.path, held_out.folder, "--output", tmp_path / "scores")
    typed = map(str, (*arguments, "--baseline", annotated.folder))
    result = CliRunner().invoke(app, [*typed])
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "pip install 'xctvol[baseline]'" in result.stderr
    assert not (tmp_path / "scores").exists()


@pytest.mark.slow
def test_sandstone_is_learned_from_the_other_slices(real_data, tmp_path):
    colors = {"pore": [0, 0, 255], "quartz": [255, 0, 0], "clay": [0, 255, 0]}
    colors["pyrite"] = [255, 255, 0]
    table = [{"name": name, "mask": [color]} for name, color in colors.items()]
    materials = Materials.from_json(table)
    for kind in ("images", "masks"):
        *learned, last = sorted(real_data("sandstone", kind).glob("*.tif"))[::2]
        for file in (*learned, last):
            folder = tmp_path / ("held-out" if file == last else "annotated") / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file.name).symlink_to(file)
    learned, held_out = (open_pairs(tmp_path / n, materials) for n in ("annotated", "held-out"))
    model = write_model(tmp_path / "m.safetensors", materials, "uint8")
    scores = evaluate([model], held_out, tmp_path / "scores", baseline=learned, device="cpu").run()
    assert scores.macro_f1["pixel forest"] > 0.94
    record = json.loads((scores.path / "evaluate.json").read_text())
    f1 = {row["material"]: row["f1"] for row in record["scores"] if row["kind"] == "baseline"}
    assert f1["clay"] > 0.82
