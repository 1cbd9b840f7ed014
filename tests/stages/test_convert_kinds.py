"""convert: grey values of odd types and offsets, and labels as other programs hand them over."""

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.sources import crop, open_source
from xctvol.stages.convert import convert, convert_labels
from xctvol.stages.export import export
from xctvol.units import Spacing
from xctvol.volume import Percentiles, open_volume

SPACING = Spacing(2.0, 2.0, 2.0)


def saved(tmp_path, voxels, name="v.npy"):
    np.save(tmp_path / name, voxels)
    return open_source(tmp_path / name, spacing=SPACING)


def command(*words):
    return CliRunner().invoke(app, [*map(str, words), "--cluster", "serial", "--quiet"])


@pytest.fixture
def labels(tmp_path):
    """Labels 0, 3 and 7 as a file, and the label volume made of it."""
    voxels = np.zeros((8, 60, 64), np.uint8)
    voxels[2:5, 10:50, 10:50] = 3
    voxels[:, :5] = 7
    convert_labels(saved(tmp_path, voxels), tmp_path / "l.zarr").run()
    return tmp_path / "l.zarr", voxels


@pytest.mark.parametrize("target", ["l.tif", "slices"])
def test_exported_labels_are_converted_back(labels, tmp_path, target):
    path, voxels = labels
    export(open_labels(path), tmp_path / target).run()
    done = command("convert", tmp_path / target, tmp_path / "back.zarr", "--labels")
    assert done.exit_code == 0, done.stderr
    back = open_labels(tmp_path / "back.zarr")
    np.testing.assert_array_equal(back.volume.read(Box.whole(voxels.shape)), voxels)
    assert back.materials.labels == (3, 7)
    assert back.volume.spacing == SPACING


@pytest.mark.parametrize("target", ["l.tif", "slices"])
def test_exported_labels_are_no_grey_values(labels, tmp_path, target):
    path, _ = labels
    export(open_labels(path), tmp_path / target).run()
    source = open_source(tmp_path / target)
    for each in (source, crop(source, Box((1, 0, 0), (3, 20, 20)))):
        with pytest.raises(InputError, match=r"is a colour image: .* add --labels"):
            convert(each, tmp_path / "grey.zarr")
    refused = command("convert", tmp_path / target, tmp_path / "grey.zarr")
    assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)


def test_labels_with_a_palette_are_converted_by_their_numbers(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 4, (3, 20, 30)).astype(np.uint8)
    for n, plane in enumerate(numbers):
        image = Image.fromarray(plane, "L").convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.save(tmp_path / f"{n}.png")
    source = open_source(tmp_path, spacing=SPACING)
    done = convert_labels(source, tmp_path / "a.zarr").run()
    np.testing.assert_array_equal(done.volume.read(Box.whole(numbers.shape)), numbers)


@pytest.mark.parametrize("colours", [False, True])
def test_a_palette_of_greys_is_a_scan(tmp_path, colours):
    voxels = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    if colours:
        ramp[0, 17] = 0
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="palette", colormap=ramp)
    source = open_source(tmp_path / "a.tif", spacing=SPACING)
    if colours:
        with pytest.raises(InputError, match="is a colour image"):
            convert(source, tmp_path / "a.zarr")
        return
    volume = convert(source, tmp_path / "a.zarr").run()
    np.testing.assert_array_equal(volume.read(Box.whole(volume.shape))[0], voxels)


def test_scans_of_half_precision_have_finite_levels(tmp_path):
    voxels = np.full((4, 1200, 64), 9000, np.float16)
    volume = convert(saved(tmp_path, voxels), tmp_path / "a.zarr").run()
    assert [level.dtype for level in volume.levels] == 2 * [np.float16]
    for level in range(2):
        stored = zarr.open_array(tmp_path / f"a.zarr/{level}", mode="r")[:]
        np.testing.assert_array_equal(stored, 9000)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_of_64_bits(tmp_path, dtype):
    """numpy makes such labels; a mean of eight large grey values must not wrap around."""
    voxels = np.full((4, 16, 1300), 3, dtype)
    voxels[:2] = 5
    done = convert_labels(saved(tmp_path, voxels), tmp_path / "l.zarr").run()
    assert done.materials.labels == (3, 5)
    coarse = done.volume.levels[1]
    np.testing.assert_array_equal(
        done.volume.read(Box.whole(coarse.shape), 1), voxels[::2, ::2, ::2]
    )
    large = np.full((4, 16, 1300), np.iinfo(dtype).max, dtype)
    volume = convert(saved(tmp_path, large, "g.npy"), tmp_path / "g.zarr").run()
    np.testing.assert_array_equal(
        volume.read(Box.whole(volume.levels[1].shape), 1), np.iinfo(dtype).max
    )


def test_the_window_of_a_scan_far_from_zero_is_that_of_its_voxels(tmp_path):
    """Slabs of other ranges, and dead voxels: many bins in some, few in others."""
    rng = np.random.default_rng(0)
    voxels = (1000 + rng.random((150, 40, 50)) * 0.3).astype(np.float32)
    voxels[100:] += 0.2
    voxels[3, 4, :20], voxels[140, 4, 5] = 0, 9e5
    asked = Percentiles(0.5, 99.5)
    source = saved(tmp_path, voxels)
    volume = convert(source, tmp_path / "whole.zarr", window=asked).run()
    exact = [float(np.percentile(voxels, p, method="inverted_cdf")) for p in (0.5, 99.5)]
    assert volume.window.to_json() == pytest.approx(exact, abs=1e-4)
    assert volume.histogram[0] + volume.histogram[255] < 0.015 * voxels.size
    plan = convert(source, tmp_path / "parts.zarr", window=asked)
    for _ in range(2):
        for part in (3, 1, 2):
            plan.part(part, 3).run()
    parts = open_volume(tmp_path / "parts.zarr")
    assert (parts.window, parts.histogram) == (volume.window, volume.histogram)
    whole = Box.whole(voxels.shape)
    np.testing.assert_array_equal(parts.read(whole), volume.read(whole))
