"""What convert is asked for on the command line, and what it records of a scan."""

import contextlib
import json
import warnings

import google_crc32c
import h5py
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from ome_zarr_models import open_ome_zarr
from typer.testing import CliRunner

import xctvol as xv
from xctvol.cli import app
from xctvol.grid import Box
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.volume import Checksums, Percentiles, Window, open_volume

SPACING = xv.Spacing(2.0, 0.65, 0.65)
SHAPE = (70, 40, 1100)


@pytest.fixture
def folder(tmp_path):
    """One scan as a file without header, big-endian, and as one of two datasets."""
    voxels = np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)
    voxels.astype(">u2").tofile(tmp_path / "scan.bin")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["first"] = voxels
        file["second"] = voxels[::-1]
    return tmp_path, voxels


def run(cwd, *options):
    arguments = ["convert", *options, "--spacing", "2um", "--cluster", "serial", "--quiet"]
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, arguments)


def whole(path):
    volume = open_volume(path)
    return volume.read(Box.whole(volume.shape))


RAW = ("--raw", "70x40x1100,uint16,big")


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ("10:60,,200:900", np.s_[10:60, :, 200:900]),
        (",,", np.s_[:, :, :]),
        (" 5: , :30 , : ", np.s_[5:, :30, :]),
    ],
)
def test_a_part_of_a_raw_file(folder, roi, expected):
    path, voxels = folder
    result = run(path, "scan.bin", "a.zarr", *RAW, "--roi", roi)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(whole(path / "a.zarr"), voxels[expected])


def test_a_dataset_is_named(folder):
    path, voxels = folder
    assert run(path, "scan.h5", "a.zarr").exit_code == 3
    assert run(path, "scan.h5", "a.zarr", "--dataset", "second").exit_code == 0
    np.testing.assert_array_equal(whole(path / "a.zarr"), voxels[::-1])


@pytest.mark.parametrize(
    "options",
    [
        ("--roi", "1:2"),
        ("--roi", "1:2,3,4:5"),
        ("--roi", "5:2,,"),
        ("--roi", "-1:2,,"),
        ("--roi", "a:b,,"),
        ("--raw", "70x40,uint16"),
        ("--raw", "70x40x1100,uint16,middle"),
        ("--raw", "70x40x1100,complex64"),
        ("--labels", "--window", "0,9"),
        ("--part", "3/2", "--dry-run"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(folder, options):
    path, _ = folder
    result = run(path, "scan.bin", "a.zarr", *RAW, *options)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (path / "a.zarr").exists()


def test_a_region_outside_the_scan_is_refused(folder):
    path, _ = folder
    result = run(path, "scan.bin", "a.zarr", *RAW, "--roi", "0:71,,")
    assert (result.exit_code, "the scan has (70, 40, 1100)" in result.stderr) == (3, True)


def test_a_volume_is_not_replaced_by_itself(tmp_path):
    """--overwrite deletes what is there first: here that would be the only copy of the scan."""
    voxels = np.random.default_rng(0).integers(0, 255, (3, 40, 50)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    assert run(tmp_path, "a.tif", "a.zarr").exit_code == 0
    (tmp_path / "link.zarr").symlink_to("a.zarr")
    for source, options in [("a.zarr", ()), ("a.zarr/0", ()), ("link.zarr", ("--roi", "1:2,,"))]:
        result = run(tmp_path, source, "a.zarr", "--overwrite", *options)
        assert (result.exit_code, "give what is written another name" in result.stderr) == (2, True)
    np.testing.assert_array_equal(whole(tmp_path / "a.zarr"), voxels)


def test_voxels_that_are_no_numbers_are_counted_and_said(tmp_path):
    voxels = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    voxels[3, 4, 5:8] = np.nan
    voxels[69, 0, :2] = [np.inf, -np.inf]
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    result = run(tmp_path, "a.tif", "kept.zarr")
    assert "3 NaN, 2 infinite; kept" in result.stdout
    result = run(tmp_path, "a.tif", "stored.zarr", "--window", "1%,99%")
    assert "3 NaN, 2 infinite; stored as 0, and as the window's ends" in result.stdout
    stored = whole(tmp_path / "stored.zarr")
    assert not stored[3, 4, 5:8].any()
    assert stored[69, 0, :2].tolist() == [255, 0]
    np.testing.assert_array_equal(whole(tmp_path / "kept.zarr"), voxels)
    assert open_volume(tmp_path / "kept.zarr").own["not_finite"] == {"nan": 3, "infinite": 2}


def test_the_histogram_is_kept_where_it_was_made(folder):
    path, voxels = folder
    layout = xv.RawLayout(SHAPE, "uint16", "big")
    source = open_source(path / "scan.bin", spacing=SPACING, raw=layout)
    volume = convert(source, path / "a.zarr", window=Percentiles(1, 99)).run()
    stored = np.empty(SHAPE, np.uint8)
    volume.window.to_uint8(voxels, stored)
    assert volume.histogram == tuple(np.bincount(stored.ravel(), minlength=256))
    assert convert(source, path / "b.zarr", window=Window(0, 9)).run().histogram is None


def test_checksums_are_those_of_the_files_and_of_the_slices(folder):
    path, voxels = folder
    source = xv.crop(open_source(path / "scan.h5", spacing=SPACING, dataset="first"), BOX)
    volume = convert(source, path / "a.zarr").run()
    found = Checksums.read([level.path for level in volume.levels])
    slices = [google_crc32c.value(plane.tobytes()) for plane in voxels[BOX.slices]]
    assert [int(crc, 16) for crc in found.slices] == slices
    for level, keys in zip(volume.levels, found.shards, strict=True):
        files = {str(f.relative_to(level.path)) for f in level.path.glob("c/*/*/*")}
        assert set(keys) == files
        for key, crc in keys.items():
            assert int(crc, 16) == google_crc32c.value((level.path / key).read_bytes())


BOX = Box((1, 0, 0), (69, 40, 1100))


def test_what_is_recorded_disturbs_no_reader(folder):
    path, _ = folder
    source = open_source(path / "scan.h5", spacing=SPACING, dataset="first")
    convert(source, path / "a.zarr", window=Percentiles(1, 99)).run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(path / "a.zarr", mode="r")
        assert {name for name, _ in group.members(max_depth=None)} == {"0", "1"}
    yaozarrs.validate_zarr_store(str(path / "a.zarr"))
    open_ome_zarr(group)
    assert len((path / "a.zarr/zarr.json").read_bytes()) < 1 << 14
    json.loads((path / "a.zarr/0/zarr.json").read_text())
