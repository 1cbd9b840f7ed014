"""verify: labels and tables, whatever happens to a byte of them."""

import json
import os
import shutil

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, UsageError
from xctvol.labels import Labels, open_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.measure import measure
from xctvol.stages.segment import Where, segment, segment_again
from xctvol.stages.verify import repair, verify
from xctvol.units import Spacing
from xctvol.volume import Window, open_volume

SHAPE = (70, 20, 1100)  # two slabs, two levels
MATERIALS = Materials.from_json(
    [{"name": "air", "mask": 0, "label": 3}, {"name": "leaf", "mask": 1, "label": 7}]
)


def content(path):
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def flip(file, place=-20):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def run(*arguments):
    return CliRunner().invoke(app, ["verify", *map(str, arguments), "--quiet"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scan with labels and their probabilities, the model, and measurements with instances."""
    folder = tmp_path_factory.mktemp("products")
    voxels = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", voxels, photometric="minisblack")
    source = open_source(folder / "a.tif", spacing=Spacing(1.0, 1.0, 1.0))
    volume = convert(source, folder / "a.zarr").run()
    torch.manual_seed(0)
    card = Card("unet", MATERIALS, GreyScale("uint8", Window(0.0, 255.0), 0.4, 0.2))
    save_model(folder / "m.safetensors", card, build("unet", 2).body.state_dict())
    model = open_model(folder / "m.safetensors")
    where, threads = Where(skip_below=3.0), torch.get_num_threads()
    torch.set_num_threads(1)  # for small slices, where two that wait for each other are slower
    labels = segment(volume, model, where=where, probabilities=True, device="cpu").run()
    torch.set_num_threads(threads)
    measure(labels, folder / "measures", instances="regions").run()
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """The same, to be damaged."""
    shutil.copytree(made, tmp_path / "a", copy_function=shutil.copy2)
    return tmp_path / "a"


def test_all_of_it_is_good_and_not_touched(folder):
    before = content(folder)
    scan, labels = verify(folder / "a.zarr").run(), verify(folder / "a.zarr/labels/tissue").run()
    tables = verify(folder / "measures").run()
    assert (scan.good, labels.good, tables.good) == (True, True, True)
    assert (scan.shards, labels.shards) == (20, 16)  # 2 slabs x 2 levels, of 5 images and of 4
    assert (tables.files, tables.shards) == (6, 4)
    assert not tables.replaces_source
    assert content(folder) == before


DAMAGED = [
    ("flip", "0/c/1/0/0", "(slices 64 to 69) has other bytes than were written"),
    ("missing", "0/c/0/0/0", "(slices 0 to 63) is missing"),
    ("cut", "1/c/0/0/0", "(slices 0 to 63) has other bytes than were written"),
    ("flip", "probabilities/margin/0/c/1/0/0", "(slices 64 to 69) has other bytes"),
]


@pytest.mark.parametrize(("damage", "shard", "said"), DAMAGED)
def test_bad_shards_of_labels_are_named_and_made_again(folder, damage, shard, said):
    path, before = folder / "a.zarr/labels/tissue", content(folder)
    file = path / shard
    untouched = {other: other.stat().st_mtime_ns for other in before if other != file}
    if damage == "flip":
        flip(file)
    elif damage == "missing":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size - 3)
    verdict = verify(path).run()
    (line,) = verdict.bad
    assert line.startswith(f"{shard} {said}")
    (remedy,) = verdict.remedies
    assert f"`xctvol verify {path} --model m.safetensors --repair`" in remedy
    assert f"`xctvol segment {folder}/a.zarr m.safetensors --labels tissue --overwrite`" in remedy
    assert 'precision fp32, where {"skip_below": 3.0}, decode argmax' in remedy
    (line,) = verify(folder / "a.zarr").run().bad
    assert line.startswith(f"labels/tissue/{shard} ")
    again = segment_again(open_labels(path), [open_model(folder / "m.safetensors")])
    mended = repair(path, None, again).run()
    assert (mended.good, mended.repaired) == (True, (shard,))
    assert content(folder) == before
    assert {other: other.stat().st_mtime_ns for other in untouched} == untouched


def test_without_the_model_coarser_levels_are_mended_from_level_0(folder):
    path, before = folder / "a.zarr/labels/tissue", content(folder)
    flip(path / "1/c/0/0/0")
    assert repair(path).run().repaired == ("1/c/0/0/0",)
    assert content(folder) == before
    flip(path / "0/c/0/0/0")
    verdict = repair(path).run()
    assert (len(verdict.bad), verdict.repaired) == (1, ())


def test_only_what_made_the_labels_makes_them_again(folder):
    path = folder / "a.zarr/labels/tissue"
    other = build("unet", 2).body.state_dict()
    card = open_model(folder / "m.safetensors").card
    save_model(folder / "n.safetensors", card, other)
    with pytest.raises(InputError, match="made with other model than these"):
        segment_again(open_labels(path), [open_model(folder / "n.safetensors")])
    numbers = Labels(open_volume(folder / "measures/regions.zarr"), MATERIALS, None)
    with pytest.raises(InputError, match="not made by xctvol segment"):
        segment_again(numbers, [open_model(folder / "m.safetensors")])


def test_what_comes_out_otherwise_is_not_written(folder):
    """As on another machine, where rounding is another."""
    path = folder / "a.zarr/labels/tissue"
    flip(path / "0/c/1/0/0")
    damaged = content(folder)

    class Another:
        peak_memory = 0

        def __call__(self, block, place):
            for level in "01":
                (place / level / "c/1/0").mkdir(parents=True)
                (place / level / "c/1/0/0").write_bytes(b"other labels")

    verdict = repair(path, None, Another()).run()
    assert (len(verdict.bad), verdict.repaired) == (1, ())
    assert content(folder) == damaged


def edit_number(folder):
    file = folder / "materials.csv"
    file.write_text(file.read_text().replace("1", "2", 1))
    return "materials.csv has other content than was written"


def cut_parquet(folder):
    file = folder / "regions.parquet"
    os.truncate(file, file.stat().st_size // 2)
    return "regions.parquet has other content than was written"


def remove_table(folder):
    (folder / "interfaces.csv").unlink()
    return "interfaces.csv is missing"


def edit_record(folder):
    file = folder / "measure.json"
    file.write_text(file.read_text().replace('"connectivity": 26', '"connectivity": 6', 1))
    return "measure.json says other things than were written"


def flip_instances(folder):
    flip(folder / "regions.zarr/0/c/1/0/0")
    return "regions.zarr/0/c/1/0/0 (slices 64 to 69) has other bytes than were written"


CHANGES = [edit_number, cut_parquet, remove_table, edit_record, flip_instances]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_tables_are_named_with_what_makes_them_again(folder, change):
    said = change(folder / "measures")
    verdict = verify(folder / "measures").run()
    assert verdict.bad == (said,)
    (remedy,) = verdict.remedies
    if change is edit_record:  # it is not believed any more
        assert remedy.startswith("run xctvol measure as then")
    else:
        assert remedy.startswith("measure again with `xctvol measure ")
        again = f"a.zarr --labels tissue --output {folder}/measures --overwrite` and the options of"
        assert again in remedy
    assert not list((folder / "measures").glob(".*"))


def test_tables_are_not_mended_but_made(folder):
    with pytest.raises(UsageError, match=r"made as a whole: measure again with `xctvol measure"):
        repair(folder / "measures")


def test_what_has_no_digests_says_so(folder):
    record = json.loads((folder / "measures/measure.json").read_text())
    del record["files"]
    (folder / "measures/measure.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="does not name the files of its folder"):
        verify(folder / "measures").run()


def test_names_in_a_record_cannot_leave_the_folder(folder):
    record = json.loads((folder / "measures/measure.json").read_text())
    record["files"] = {"../a.tif": "0"}
    (folder / "measures/measure.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="does not name the files of its folder"):
        verify(folder / "measures")


def test_scores_and_studies_are_verified_by_their_records(tmp_path):
    """Any folder that one of the verbs finished: the files that its record names."""
    from xctvol.journal import Recipe
    from xctvol.stages.evaluate.product import ScoresProduct
    from xctvol.studies.product import StudyProduct

    for kind, name in ((ScoresProduct, "scores.csv"), (StudyProduct, "study.csv")):
        product = kind(tmp_path / kind.verb)
        product.path.mkdir()
        (product.path / name).write_text("a,b\n1,2\n")
        product.finish({}, Recipe(kind.verb, {}, {}))
        verdict = verify(product.path).run()
        assert (verdict.good, verdict.files) == (True, 2)
        (product.path / name).write_text("a,b\n1,3\n")
        verdict = verify(product.path).run()
        assert verdict.bad == (f"{name} has other content than was written",)
        assert verdict.remedies == (
            f"run xctvol {kind.verb} as then, with --output {product.path} --overwrite",
        )


def test_the_command_knows_the_kind_from_the_disk(folder):
    serial = ("--cluster", "serial")
    labels, tables = folder / "a.zarr/labels/tissue", folder / "measures"
    assert run(tables, *serial).stdout.split()[-3:] == ["4", "verdict", "good"]
    edit_number(tables)
    bad = run(tables, *serial)
    assert bad.exit_code == 1
    (line,) = bad.stderr.strip().splitlines()
    assert "1 of 6 files and 4 shards are bad; measure again with `xctvol measure" in line
    refused = run(tables, "--repair", *serial)
    assert (refused.exit_code, "made as a whole" in refused.stderr) == (2, True)
    flip(labels / "0/c/1/0/0")
    bad = run(labels, *serial)
    assert "1 of 16 shards are bad; write them anew with `xctvol verify" in bad.stderr
    assert run(labels, "--model", folder / "m.safetensors", *serial).exit_code == 2
    mended = run(labels, "--model", folder / "m.safetensors", "--repair", *serial)
    assert (mended.exit_code, mended.stdout.split()[-1]) == (0, "good")
    missing = run(folder / "a.tif")
    assert (missing.exit_code, "what can be verified are" in missing.stderr) == (3, True)
