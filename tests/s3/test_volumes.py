"""Volumes in buckets: the same bytes, labels and tables as on disk, from every verb."""

import os
import pickle
import urllib.error
import urllib.request

import numpy as np
import pytest
import tifffile
import torch
import zarr
from obstore.store import S3Store
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, PlanError
from xctvol.execution import Dask
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.locations import located
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.measure import measure
from xctvol.stages.report import report
from xctvol.stages.segment import segment
from xctvol.stages.verify import repair, verify
from xctvol.stages.view import view
from xctvol.units import Spacing
from xctvol.volume import Percentiles, Window, open_volume
from xctvol.volume.array import ZarrArray, open_array

WINDOW = Percentiles(1, 99)


def objects(folder):
    """Content of every file, by name."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def xctvol(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_object_has_the_bytes_of_the_local_file(scan, bucket, tmp_path):
    url, folder = bucket
    local = convert(scan, tmp_path / "a.zarr", window=WINDOW).run()
    plan = convert(scan, f"{url}/deep/a.zarr", window=WINDOW)
    assert "0 done" in str(plan)
    volume = plan.run()
    assert objects(folder / "deep/a.zarr") == objects(tmp_path / "a.zarr")
    assert plan.run() == volume  # opened, not made again
    assert (str(volume.path), volume.digest) == (f"{url}/deep/a.zarr", local.digest)
    whole = local.read(Box.whole(local.shape))
    np.testing.assert_array_equal(volume.read(Box.whole(volume.shape)), whole)
    for box in (Box((0, 0, 0), (1, 1, 1)), Box((40, 3, 100), (131, 16, 700))):
        np.testing.assert_array_equal(volume.read(box), whole[box.slices])
    part = volume.to_xarray().isel(z=slice(130, 140), x=slice(5, 300))
    np.testing.assert_array_equal(part.values, whole[130:140, :, 5:300])


def test_other_libraries_read_it(scan, one_bucket):
    url, _ = one_bucket
    volume = convert(scan, f"{url}/a.zarr", window=WINDOW).run()
    store = zarr.storage.ObjectStore(S3Store(url.removeprefix("s3://")), read_only=True)
    for number, level in enumerate(volume.levels):
        array = zarr.open_array(store, path=f"a.zarr/{number}", mode="r")
        found = np.empty(level.shape, level.dtype)
        level.read_into(Box.whole(level.shape), found)
        np.testing.assert_array_equal(array[:], found)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_of_other_libraries_are_read(bucket, zarr_format):
    url, folder = bucket
    voxels = np.random.default_rng(0).integers(0, 60000, (7, 20, 30)).astype("u2")
    zarr.create_array(
        folder / "foreign", data=voxels, chunks=(3, 8, 16), zarr_format=zarr_format
    )  # the bucket is a folder
    array = open_array(located(f"{url}/foreign"))
    assert isinstance(array, ZarrArray)
    out = np.empty((4, 20, 25), "u2")
    array.read_into(Box((2, 0, 5), (6, 20, 30)), out)
    np.testing.assert_array_equal(out, voxels[2:6, :, 5:])
    with pytest.raises(InputError, match="as a zarr array"):
        open_array(located(f"{url}/nothing"))


def test_damage_is_found_and_mended(scan, bucket):
    url, folder = bucket
    path = f"{url}/a.zarr"
    convert(scan, path, window=WINDOW).run()
    good = objects(folder / "a.zarr")
    assert verify(path, scan).run().replaces_source
    shard = folder / "a.zarr/0/c/2/0/0"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    (folder / "a.zarr/1/c/0/0/0").unlink()
    bad = (
        "0/c/2/0/0 (slices 128 to 149) has other bytes than were written",
        "1/c/0/0/0 (slices 0 to 63) is missing",
    )
    assert sorted(verify(path).run().bad) == sorted(bad)
    assert repair(path, scan).run().replaces_source
    assert objects(folder / "a.zarr") == good


def test_another_recipe_is_refused_and_overwriting_leaves_nothing_behind(scan, one_bucket):
    url, folder = one_bucket
    convert(scan, f"{url}/a.zarr").run()
    convert(scan, f"{url}/a.zarr.old", window=WINDOW).run()
    other = convert(scan, f"{url}/a.zarr", window=Window(0, 50000))
    with pytest.raises(PlanError, match="other window"):
        other.run()
    (folder / "a.zarr/0/c/9").mkdir(parents=True)
    (folder / "a.zarr/0/c/9/stale").write_bytes(b"of another volume")
    other.overwrite().run()
    convert(scan, f"{url}/b/a.zarr", window=Window(0, 50000)).run()
    assert objects(folder / "a.zarr") == objects(folder / "b/a.zarr")
    assert verify(f"{url}/a.zarr.old").run().good  # its name only begins like the other's


def test_what_others_put_there_is_not_overwritten(scan, one_bucket):
    url, folder = one_bucket
    (folder / "a.zarr").mkdir()
    (folder / "a.zarr/thesis.txt").write_text("years of work")
    for plan in (convert(scan, f"{url}/a.zarr"), convert(scan, f"{url}/a.zarr").overwrite()):
        with pytest.raises(PlanError, match="was not made by xctvol"):
            plan.run()
    assert objects(folder) == {"a.zarr/thesis.txt": b"years of work"}


@pytest.fixture(scope="module")
def leaf(tmp_path_factory):
    """A small scan as slices, and a model for it."""
    folder = tmp_path_factory.mktemp("leaf")
    voxels = np.random.default_rng(1).integers(0, 255, (70, 40, 48)).astype(np.uint8)
    tifffile.imwrite(folder / "leaf.tif", voxels, photometric="minisblack")
    torch.manual_seed(0)
    network = build("unet", 2)
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    card = Card("unet", Materials.numbered([1, 2]), GreyScale("uint8", Window(0, 255), 0.4, 0.2))
    save_model(folder / "m.safetensors", card, network.body.state_dict())
    return folder


def segmented(leaf, path):
    """Labels of the scan, converted to `path`."""
    scan = open_source(leaf / "leaf.tif", spacing=Spacing(1.0, 1.0, 1.0))
    model = open_model(leaf / "m.safetensors")
    return segment(convert(scan, path).run(), model, device="cpu").run()


def analysed(labels, output):
    """Tables and a page about labels, in the folder `output`."""
    volume = labels.scan
    tables = measure(labels, output / "tables", intensity=volume, instances="regions").run()
    return report(volume, labels, output / "leaf.html", tables=tables).run()


def test_labels_are_those_of_the_local_volume(leaf, bucket, tmp_path):
    url, folder = bucket
    local, remote = (segmented(leaf, path) for path in (tmp_path / "a.zarr", f"{url}/a.zarr"))
    assert objects(folder / "a.zarr") == objects(tmp_path / "a.zarr")
    box = Box((20, 5, 5), (66, 30, 40))
    np.testing.assert_array_equal(remote.volume.read(box), local.volume.read(box))
    assert open_labels(f"{url}/a.zarr") == remote


@pytest.mark.slow
def test_tables_and_page_are_those_of_the_local_volume(leaf, one_bucket, tmp_path):
    url, _ = one_bucket
    analysed(segmented(leaf, tmp_path / "leaf.zarr"), tmp_path / "local")
    page = analysed(segmented(leaf, f"{url}/leaf.zarr"), tmp_path / "remote")
    local, remote = (objects(tmp_path / name / "tables") for name in ("local", "remote"))
    records = ("measure.json", "regions.zarr/zarr.json")  # which say where the labels are
    assert {k: v for k, v in local.items() if k not in records} == {
        k: v for k, v in remote.items() if k not in records
    }
    assert f"{url}/leaf.zarr/labels/tissue".encode() in remote["measure.json"]
    assert page.read_text() == (tmp_path / "local/leaf.html").read_text()


@pytest.mark.slow
def test_the_command_line_takes_buckets(leaf, one_bucket, tmp_path, monkeypatch):
    url, folder = one_bucket
    monkeypatch.chdir(tmp_path)
    serial, volume = ("--quiet", "--cluster", "serial"), f"{url}/leaf.zarr"
    xctvol("convert", leaf / "leaf.tif", volume, "--spacing", "1um", *serial)
    xctvol("segment", volume, leaf / "m.safetensors", "--gpus", "0", *serial)
    xctvol("measure", volume, *serial)
    xctvol("report", volume, "leaf.html", "--quiet")
    assert "safe to delete" in xctvol("verify", volume, "--source", leaf / "leaf.tif", *serial)
    nbytes = sum(map(len, objects(folder).values()))
    assert f"{nbytes / 1000:.3g}"[:2] in xctvol("info", volume)
    assert (tmp_path / "leaf-measures/regions.parquet").is_file()
    xctvol("export", volume, "tissue.tif", "--labels", "tissue", "--quiet")
    labels = open_labels(volume).volume
    found = labels.read(Box.whole(labels.shape))
    np.testing.assert_array_equal(tifffile.imread("tissue.tif"), found)
    assert open_labels(volume).scan == open_volume(volume)


def test_the_viewer_gets_shards_from_the_bucket(leaf, one_bucket):
    url, folder = one_bucket
    scan = open_source(leaf / "leaf.tif", spacing=Spacing(1.0, 1.0, 1.0))
    viewing = view(convert(scan, f"{url}/leaf.zarr", window=WINDOW).run())
    try:
        stored = (folder / "leaf.zarr/0/c/0/0/0").read_bytes()
        asked = urllib.request.Request(f"{viewing.server.data}0/c/0/0/0")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.read() == stored
        asked.add_header("Range", "bytes=-40")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.read() == stored[-40:]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{viewing.server.data}0/c/0/9/9", timeout=30)
    finally:
        viewing.close()


def test_credentials_are_nowhere(leaf, one_bucket):
    url, folder = one_bucket
    scan = open_source(leaf / "leaf.tif", spacing=Spacing(1.0, 1.0, 1.0))
    plan = convert(scan, f"{url}/leaf.zarr", window=WINDOW)
    plan.part(1, 2).run()
    texts = [str(plan), repr(plan), *(pickle.dumps(stage.task) for stage in plan.stages)]
    unfinished = objects(folder)
    assert any("/.xctvol/" in name for name in unfinished)
    texts += unfinished.values()
    segmented(leaf, f"{url}/done.zarr")
    texts += objects(folder).values()
    for secret in (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]):
        for text in texts:
            assert secret.encode() not in (text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize("failing", [False, True])
def test_credentials_are_not_printed(leaf, one_bucket, tmp_path, monkeypatch, failing):
    """Not by plans, as text or JSON, nor by errors, nor where they were typed by mistake."""
    url, _ = one_bucket
    secrets = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    convert(open_source(leaf / "leaf.tif", spacing=Spacing(1.0, 1.0, 1.0)), f"{url}/a.zarr").run()
    monkeypatch.chdir(tmp_path)
    if failing:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    volume, alone = f"{url}/a.zarr", ("--cluster", "serial")
    typed = f"s3://{secrets[0]}:{secrets[1]}@host/a.zarr"
    commands = [
        ("convert", leaf / "leaf.tif", f"{url}/b.zarr", "--spacing", "1um", "--dry-run", *alone),
        ("convert", leaf / "leaf.tif", f"{url}/b.zarr", "--spacing", "1um", "--json", *alone),
        ("segment", volume, leaf / "m.safetensors", "--gpus", "0", "--dry-run", *alone),
        ("verify", volume, "--json", *alone),
        ("info", volume, "--json"),
        ("info", f"{url}/not-there.zarr"),
        ("info", typed),
        ("convert", leaf / "leaf.tif", typed, "--spacing", "1um"),
    ]
    for command in commands[5 * failing :: 1 + failing]:  # a server that is away takes seconds
        result = CliRunner().invoke(app, [*map(str, command)])
        assert (result.exit_code == 0) == (command in commands[:5]), result.output
        for secret in secrets:
            assert secret not in result.output
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or not any(s.encode() in file.read_bytes() for s in secrets)


@pytest.mark.slow
def test_workers_find_the_bucket_and_write_the_same(scan, bucket, tmp_path):
    url, folder = bucket
    convert(scan, tmp_path / "a.zarr", window=WINDOW).run()
    convert(scan, f"{url}/a.zarr", window=WINDOW).run(Dask(2))
    assert objects(folder / "a.zarr") == objects(tmp_path / "a.zarr")
    assert verify(f"{url}/a.zarr", scan).run(Dask(2)).replaces_source
