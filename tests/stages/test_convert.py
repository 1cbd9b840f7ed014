"""convert: from slices on disk to a volume that independent readers agree with."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from ome_zarr_models import open_ome_zarr

from xctvol.errors import InputError, PlanError
from xctvol.execution import Dask
from xctvol.files import write_json
from xctvol.grid import Box
from xctvol.journal import Recipe
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.sources import open_source
from xctvol.stages.convert import convert, convert_labels
from xctvol.units import Spacing
from xctvol.volume import Percentiles, Window, label_names, open_volume

SPACING = Spacing(2.0, 0.65, 0.65)
SHAPE = (150, 90, 70)


@pytest.fixture
def scan(tmp_path):
    """150 uint16 slices on disk, and the same voxels in memory."""
    voxels = np.random.default_rng(0).integers(100, 60000, SHAPE).astype(np.uint16)
    voxels[:, :20] = 0
    (tmp_path / "scan").mkdir()
    for z, image in enumerate(voxels):
        tifffile.imwrite(tmp_path / "scan" / f"s_{z:04d}.tif", image)
    return tmp_path / "scan", voxels


def source(folder):
    return open_source(folder, spacing=SPACING)


def content(path):
    """Digest of every file of a product, by name."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_voxels_are_those_of_the_slices(scan, tmp_path):
    folder, voxels = scan
    volume = convert(source(folder), tmp_path / "a.zarr").run()
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/0", mode="r")[:], voxels)
    np.testing.assert_array_equal(volume.read(Box.whole(SHAPE)), voxels)
    assert (volume.spacing, volume.dtype, volume.window) == (SPACING, np.uint16, None)


def test_one_window_serves_the_whole_scan(scan, tmp_path):
    folder, voxels = scan
    volume = convert(source(folder), tmp_path / "a.zarr", window=Percentiles(5, 95)).run()
    low, high = volume.window.low, volume.window.high
    ordered = np.sort(voxels, axis=None)
    assert low == ordered[int(np.ceil(voxels.size * 0.05)) - 1]
    assert high == ordered[int(np.ceil(voxels.size * 0.95)) - 1]
    expected = np.rint(((voxels - low) * 255 / (high - low)).clip(0, 255))
    np.testing.assert_array_equal(volume.read(Box.whole(SHAPE)), expected)
    assert volume.source_dtype == np.uint16


@pytest.mark.parametrize("shape", [(3, 1100, 1030), (70, 40, 1200), (1, 1, 1)])
def test_validators_accept_all_levels(tmp_path, shape):
    voxels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    plan = convert(open_source(tmp_path / "a.tif", spacing=SPACING), tmp_path / "a.zarr")
    volume = plan.run()
    yaozarrs.validate_zarr_store(str(tmp_path / "a.zarr"))
    open_ome_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    for level in volume.levels:
        assert zarr.open_array(level.path, mode="r").shape == level.shape
    array = volume.to_xarray()
    np.testing.assert_allclose(array.coords["z"], np.arange(shape[0]) * 2.0)
    np.testing.assert_array_equal(array.values, voxels)


def test_coordinates_of_coarser_levels_are_centres_of_their_voxels(tmp_path):
    voxels = np.random.default_rng(1).integers(0, 255, (6, 8, 1200)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    volume = convert(open_source(tmp_path / "a.tif", spacing=SPACING), tmp_path / "a.zarr").run()
    coarse = volume.to_xarray(1)
    assert coarse.coords["x"].values[0] == pytest.approx(0.325)
    assert coarse.coords["z"].values[:2] == pytest.approx([1.0, 5.0])
    group = json.loads((tmp_path / "a.zarr/zarr.json").read_text())["attributes"]["ome"]
    scale, shift = group["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([4.0, 1.3, 1.3])
    assert shift["translation"] == pytest.approx([1.0, 0.325, 0.325])


@pytest.mark.parametrize("count", [2, 7])
def test_parts_make_the_same_bytes_as_one_run(scan, tmp_path, count):
    folder, _ = scan
    window = Percentiles(1, 99)
    convert(source(folder), tmp_path / "whole.zarr", window=window).run()
    plan = convert(source(folder), tmp_path / "parts.zarr", window=window)
    rounds = [plan.part(n, count).run() for n in range(1, count + 1)]
    rounds += [plan.part(n, count).run() for n in range(1, count + 1)]
    assert rounds[0] is None
    assert rounds[-1] == open_volume(tmp_path / "parts.zarr")
    assert shards(content(tmp_path / "parts.zarr")) == shards(content(tmp_path / "whole.zarr"))


def shards(files):
    return {name: digest for name, digest in files.items() if "/c/" in name}


@pytest.mark.slow
def test_dask_makes_the_same_bytes_as_serial(scan, tmp_path):
    folder, _ = scan
    for name, executor in (("serial", None), ("dask", Dask(2))):
        (tmp_path / name).mkdir()
        convert(source(folder), tmp_path / name / "a.zarr", window=Window(0, 50000)).run(executor)
    assert content(tmp_path / "serial") == content(tmp_path / "dask")


def test_other_options_are_refused_and_name_what_differs(scan, tmp_path):
    folder, _ = scan
    convert(source(folder), tmp_path / "a.zarr").run()
    other = convert(source(folder), tmp_path / "a.zarr", window=Window(0, 9))
    with pytest.raises(PlanError, match=r"a\.zarr exists .* other window"):
        other.run()
    assert other.overwrite().run().window == Window(0, 9)


def test_overwriting_a_volume_leaves_its_labels_and_what_is_not_ours(scan, tmp_path):
    path = tmp_path / "a.zarr"
    convert(source(scan[0]), path).run()
    labels = path / "labels" / "tissue" / "zarr.json"
    for file in (labels, path / "notes.txt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    write_json(path / "labels/zarr.json", {"attributes": {"ome": {"labels": ["tissue"]}}})
    assert "WARNING" not in str(convert(source(scan[0]), path))
    assert label_names(path) == ["tissue"]
    plan = convert(source(scan[0]), path, window="0,9").overwrite()
    assert f"WARNING: labels of the volume to be replaced stay in {path}: tissue" in str(plan)
    assert plan.run().window == Window(0, 9)
    assert (labels.read_text(), (path / "notes.txt").read_text()) == ("mine", "mine")


def test_what_another_verb_has_begun_is_not_overwritten(scan, tmp_path):
    path = tmp_path / "a"
    (path / "annotated.zip").parent.mkdir()
    (path / "annotated.zip").write_text("mine")
    write_json(path / ".xctvol" / "recipe.json", Recipe("export", {}, {}).to_json())
    with pytest.raises(PlanError, match="was started by xctvol export"):
        convert(source(scan[0]), path).overwrite().run()
    assert (path / "annotated.zip").read_text() == "mine"


def test_a_source_that_changed_is_refused(scan, tmp_path):
    folder, voxels = scan
    convert(source(folder), tmp_path / "a.zarr").run()
    tifffile.imwrite(folder / "s_0003.tif", voxels[4])
    with pytest.raises(PlanError, match="other source"):
        convert(source(folder), tmp_path / "a.zarr").run()


def test_foreign_data_is_never_overwritten(scan, tmp_path):
    folder, _ = scan
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("years of work")
    plan = convert(source(folder), tmp_path / "a.zarr")
    for attempt in (plan, plan.overwrite()):
        with pytest.raises(PlanError, match="was not made by xctvol"):
            attempt.run()
    assert (tmp_path / "a.zarr" / "thesis.txt").read_text() == "years of work"


def test_an_unknown_voxel_size_is_asked_for(scan, tmp_path):
    folder, _ = scan
    with pytest.raises(InputError, match=r"does not say its voxel size.*--spacing"):
        convert(open_source(folder), tmp_path / "a.zarr")


def test_making_a_plan_touches_nothing(scan, tmp_path):
    folder, _ = scan
    plan = convert(source(folder), tmp_path / "a.zarr")
    assert "150 slices in 3 blocks, 0 done" in str(plan)
    assert not (tmp_path / "a.zarr").exists()


def test_labels_become_a_label_volume(tmp_path):
    values = np.random.default_rng(3).choice(np.array([0, 85, 255], np.uint8), (70, 30, 40))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    stack = open_source(tmp_path / "a.tif", spacing=SPACING)
    table = Materials.from_json([{"name": "air", "mask": [0, 85]}, {"name": "leaf", "mask": 255}])
    labels = convert_labels(stack, tmp_path / "named.zarr", materials=table).run()
    np.testing.assert_array_equal(
        labels.volume.read(Box.whole(values.shape)), np.where(values == 255, 2, 1)
    )
    assert open_labels(tmp_path / "named.zarr").materials == table
    kept = convert_labels(stack, tmp_path / "kept.zarr").run()
    assert kept.materials.labels == (85, 255)
    binary = convert_labels(stack, tmp_path / "binary.zarr", nonzero="gland").run()
    assert binary.materials.names == ("gland",)
    assert binary.volume.read(Box.whole(values.shape)).sum() == np.count_nonzero(values)
    open_ome_zarr(zarr.open_group(tmp_path / "kept.zarr", mode="r"))


def test_values_of_no_material_are_listed_with_their_counts(tmp_path):
    values = np.zeros((3, 4, 5), np.uint8)
    values[1, 2, 3:] = 9
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    stack = open_source(tmp_path / "a.tif", spacing=SPACING)
    table = Materials.from_json([{"name": "air", "mask": 0}])
    with pytest.raises(InputError, match=r"slice 1: .* 9 \(2 voxels\)"):
        convert_labels(stack, tmp_path / "a.zarr", materials=table).run()


KILLED = """
import sys, xctvol as xv
from xctvol.volume import Percentiles
source = xv.open_source(sys.argv[1], spacing=xv.Spacing(2.0, 0.65, 0.65))
print("go", flush=True)
xv.convert(source, sys.argv[2], window=Percentiles(1, 99)).run()
"""


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_bytes(scan, tmp_path):
    folder, _ = scan
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    window = Percentiles(1, 99)
    convert(source(folder), tmp_path / "whole/a.zarr", window=window).run()
    target = tmp_path / "killed/a.zarr"
    kills = 0
    for delay in (0.0, 0.005, 0.01, 0.02):
        command = [sys.executable, "-c", KILLED, str(folder), str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
        if process.returncode == -signal.SIGKILL:
            kills += 1
            with pytest.raises(InputError):
                open_volume(target)
    assert kills
    convert(source(folder), target, window=window).run()
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_finished_blocks_are_not_done_again(scan, tmp_path):
    folder, voxels = scan
    plan = convert(source(folder), tmp_path / "a.zarr")
    plan.part(1, 3).run()
    shard = tmp_path / "a.zarr/0/c/0/0/0"
    before = shard.stat().st_mtime_ns
    volume = plan.run()
    assert shard.stat().st_mtime_ns == before
    np.testing.assert_array_equal(volume.read(Box.whole(SHAPE)), voxels)


def test_the_phantom_converts_without_files(tmp_path):
    volume = convert(open_source("phantom:8x64x64?seed=1"), tmp_path / "a.zarr").run()
    assert volume.shape == (8, 64, 64)
    assert volume.read(Box.whole(volume.shape)).std() > 0


def test_real_stacks_equal_an_independent_reader(real_data, tmp_path):
    bone = real_data("volume_bone_slices")
    volume = convert(open_source(bone, spacing=SPACING), tmp_path / "bone.zarr").run()
    expected = np.stack([tifffile.imread(f) for f in sorted(bone.glob("*.tif"))])
    np.testing.assert_array_equal(volume.read(Box.whole(volume.shape)), expected)
    raw = next(real_data("volume_sand").glob("*.raw"))
    volume = convert(open_source(raw, spacing=SPACING), tmp_path / "sand.zarr").run()
    expected = np.fromfile(raw, np.uint8).reshape(100, 200, 200)
    np.testing.assert_array_equal(volume.read(Box.whole(volume.shape)), expected)
