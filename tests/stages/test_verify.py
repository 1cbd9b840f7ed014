"""verify: what is damaged is found and named, what can be is mended, nothing else is touched."""

import json
import os
import shutil

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError
from xctvol.execution import Dask
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.sources import crop, open_source
from xctvol.stages.convert import convert, convert_labels
from xctvol.stages.verify import repair, verify
from xctvol.units import Spacing
from xctvol.volume import Window, open_volume

SPACING = Spacing(2.0, 0.65, 0.65)
SHAPE = (130, 60, 1100)  # three slabs, two levels


def content(path):
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def flip(shard, place=1000):
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    voxels = np.random.default_rng(0).integers(100, 60000, SHAPE).astype(np.uint16)
    voxels[64:128] = 0  # a slab that is not stored at all
    tifffile.imwrite(folder / "a.tif", voxels, photometric="minisblack")
    convert(open_source(folder / "a.tif", spacing=SPACING), folder / "a.zarr").run()
    return folder


@pytest.fixture
def scan(converted, tmp_path):
    """A volume with its source, both to be damaged."""
    shutil.copytree(converted, tmp_path / "scan", copy_function=shutil.copy2)
    return tmp_path / "scan" / "a.zarr", open_source(tmp_path / "scan" / "a.tif")


def test_a_good_volume_is_good_and_not_touched(scan):
    path, source = scan
    before = content(path)
    alone, compared = verify(path).run(), verify(path, source).run()
    assert alone.good
    assert not alone.replaces_source
    assert compared.good
    assert compared.replaces_source
    assert (alone.shards, compared.compared) == (6, 130)
    assert content(path) == before


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("damage", ["flip", "missing", "cut", "new"])
def test_damage_is_named_and_mended_from_the_source(scan, level, damage):
    path, source = scan
    before = content(path)
    shard = path / str(level) / "c/2/0/0"
    if damage == "flip":
        flip(shard)
    elif damage == "missing":
        shard.unlink()
    elif damage == "cut":
        os.truncate(shard, shard.stat().st_size - 7)
    else:
        shard = path / str(level) / "c/1/0/0"
        shard.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / str(level) / "c/0/0/0", shard)
    (line,) = verify(path).run().bad
    assert line.startswith(str(shard.relative_to(path)))
    assert not verify(path, source).run().replaces_source
    verdict = repair(path, source).run()
    assert verdict.replaces_source
    assert verdict.repaired == (str(shard.relative_to(path)),)
    assert content(path) == before


def test_without_the_source_coarser_levels_are_mended_and_level_0_is_not(scan):
    path, _ = scan
    whole = content(path)
    flip(path / "1/c/0/0/0")
    flip(path / "0/c/2/0/0")
    finest = (path / "0/c/0/0/0").stat().st_mtime_ns
    verdict = repair(path).run()
    assert verdict.repaired == ("1/c/0/0/0",)
    assert verdict.bad == ("0/c/2/0/0 (slices 128 to 129) has other bytes than were written",)
    assert (path / "0/c/0/0/0").stat().st_mtime_ns == finest
    changed = [file for file, data in content(path).items() if data != whole[file]]
    assert changed == [path / "0/c/2/0/0"]


def test_a_level_that_does_not_follow_is_found_without_checksums(scan):
    path, source = scan
    for level in "01":
        metadata = json.loads((path / level / "zarr.json").read_text())
        (path / level / "zarr.json").write_text(json.dumps({**metadata, "attributes": {}}))
    assert verify(path, source).run().replaces_source
    coarse = zarr.open_array(path / "1", mode="r+")
    coarse[3, 4, 5] += 1
    (line,) = verify(path).run().bad
    assert line == "1/c/0/0/0 (slices 0 to 63) differs in 1 voxels from level 0, halved"
    assert repair(path).run().repaired == ("1/c/0/0/0",)
    zarr.open_array(path / "0", mode="r+")[129, 4, 5] += 1
    bad = verify(path, source).run().bad
    assert "0/c/2/0/0 (slices 128 to 129) differs in 1 voxels from the source" in bad


def test_a_source_that_changed_is_named_and_never_used_for_repair(scan):
    path, source = scan
    with open(source.path, "r+b") as file:
        file.seek(source.offsets[129])
        file.write(b"12345")
    verdict = verify(path, source).run()
    assert verdict.other_slices == (f"slice 129 in {source.path}",)
    assert not verdict.replaces_source
    flip(path / "0/c/2/0/0")
    flip(path / "0/c/0/0/0")  # made of slices that did not change
    verdict = repair(path, source).run()
    assert verdict.bad == ("0/c/2/0/0 (slices 128 to 129) has other bytes than were written",)
    assert verdict.repaired == ("0/c/0/0/0",)


def test_windows_and_crops_are_compared_as_they_were_stored(tmp_path):
    voxels = np.random.default_rng(1).normal(0, 1, (5, 40, 1100)).astype(np.float32)
    voxels[2, 3, :4] = [np.nan, np.inf, -np.inf, -0.0]
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    source = open_source(tmp_path / "a.tif", spacing=SPACING)
    convert(source, tmp_path / "w.zarr", window=Window(-2, 2)).run()
    convert(source, tmp_path / "n.zarr").run()
    part = crop(source, Box((1, 2, 3), (4, 30, 1090)))
    convert(part, tmp_path / "c.zarr").run()
    for name, made_from in (("w", source), ("n", source), ("c", part)):
        assert verify(tmp_path / f"{name}.zarr", made_from).run().replaces_source
    with pytest.raises(InputError, match=r"3 x 28 x 1087 voxels of float32.*--roi"):
        verify(tmp_path / "c.zarr", source)


@pytest.mark.parametrize("rule", [{}, {"nonzero": "gland"}, {"materials": True}])
def test_labels_by_their_rule_and_inside_a_volume(tmp_path, rule):
    values = np.random.default_rng(3).choice(np.array([0, 85, 255], np.uint8), (70, 30, 1100))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    source = open_source(tmp_path / "a.tif", spacing=SPACING)
    if rule.get("materials"):
        table = [{"name": "air", "mask": [0, 85]}, {"name": "leaf", "mask": 255}]
        rule = {"materials": Materials.from_json(table)}
    path = tmp_path / "a.zarr"
    convert_labels(source, path, **rule).run()
    assert open_labels(path).volume.levels[1:]
    assert verify(path, source).run().replaces_source
    flip(path / "1/c/0/0/0")
    assert repair(path).run().good
    convert(source, tmp_path / "scan.zarr").run()
    shutil.copytree(path, tmp_path / "scan.zarr/labels/tissue")
    group = {"zarr_format": 3, "node_type": "group"}
    listing = {**group, "attributes": {"ome": {"version": "0.5", "labels": ["tissue"]}}}
    (tmp_path / "scan.zarr/labels/zarr.json").write_text(json.dumps(listing))
    flip(tmp_path / "scan.zarr/labels/tissue/1/c/1/0/0")
    (line,) = verify(tmp_path / "scan.zarr").run().bad
    assert line.startswith("labels/tissue/1/c/1/0/0 ")


@pytest.mark.slow
def test_dask_and_parts_come_to_the_same_verdict(scan):
    path, source = scan
    flip(path / "1/c/2/0/0")
    expected = verify(path, source).run()
    assert verify(path, source).run(Dask(2)) == expected
    plan = verify(path, source)
    assert plan.part(1, 2).run() is None
    assert plan.part(2, 2).run() == expected
    assert not list(path.glob(".*"))


def test_what_was_noted_of_other_bytes_is_not_used(scan):
    path, _ = scan
    verify(path).part(1, 3).run()
    flip(path / "0/c/0/0/0")
    assert len(verify(path).run().bad) == 1
    assert not list(path.glob(".*"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_volume_that_cannot_be_written_to_is_verified(scan):
    path, _ = scan
    path.chmod(0o500)
    assert verify(path).run().good


def test_volumes_of_other_programs_are_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("0", data=np.zeros((4, 5, 6), np.uint8))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    steps = [{"type": "scale", "scale": [1, 1, 1]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    assert open_volume(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="was not written by xctvol"):
        verify(tmp_path / "a.zarr")


def test_the_command_says_when_the_source_may_go_and_fails_on_damage(scan):
    path, source = scan

    def run(*options):
        arguments = ["verify", str(path), "--cluster", "serial", "--quiet", *options]
        return CliRunner().invoke(app, arguments)

    good = run("--source", str(source.path))
    assert (good.exit_code, "safe to delete the source" in good.stdout) == (0, True)
    assert "safe" not in run().stdout
    flip(path / "0/c/2/0/0")
    bad = run("--source", str(source.path))
    assert bad.exit_code == 1
    assert "safe" not in bad.stdout
    assert "0/c/2/0/0 (slices 128 to 129) has other bytes than were written" in bad.stdout
    (line,) = bad.stderr.strip().splitlines()
    assert "1 of 6 shards are bad" in line
    mended = run("--source", str(source.path), "--repair")
    assert (mended.exit_code, "safe to delete the source" in mended.stdout) == (0, True)
