"""One file of all slices: what others read of it, and what is left when a run ends early."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image as Pillow

from xctvol.errors import InputError, PlanError, UsageError
from xctvol.grid import Box
from xctvol.stages.export import export
from xctvol.stages.export.imagej import ImageJStack
from xctvol.stages.export.picture import Picture
from xctvol.stages.export.stack import CopySlab
from xctvol.units import Spacing
from xctvol.volume import Codec, Image, halve_grey, halve_labels, open_volume


def itk(path):
    image = SimpleITK.ReadImage(str(path))
    return SimpleITK.GetArrayFromImage(image), image.GetSpacing()[::-1]


def test_imagej_has_every_voxel_and_its_size(scan, tmp_path):
    path = export(scan.volume, tmp_path / "a.tif").run()
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert len(file.pages) == 150
        said, page = file.imagej_metadata, file.pages.first
        assert (said["images"], said["slices"]) == (150, 150)
        assert (said["unit"], said["spacing"]) == ("um", 1.3)
        x, y = (page.tags[name].value for name in ("XResolution", "YResolution"))
        assert (x[1] / x[0], y[1] / y[0]) == pytest.approx((0.7, 0.65))
        np.testing.assert_array_equal(file.asarray(), scan.grey)
    np.testing.assert_array_equal(itk(path)[0], scan.grey)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_imagej_shows_labels_in_the_colours_of_their_materials(scan, tmp_path):
    path = export(scan.labels, tmp_path / "a.tif").run()
    np.testing.assert_array_equal(tifffile.imread(path), scan.found)
    with Pillow.open(path) as picture:
        picture.seek(149)
        shown = np.asarray(picture.convert("RGB"))
    colors = np.zeros((256, 3), np.uint8)
    colors[3], colors[7] = (0x8B, 0xC3, 0x4A), (0x6D, 0x4C, 0x41)
    np.testing.assert_array_equal(shown, colors[scan.found[149]])


@pytest.mark.parametrize("name", ["volume", "labels"])
def test_nrrd_is_what_itk_reads(scan, tmp_path, name):
    voxels, spacing = itk(export(getattr(scan, name), tmp_path / "a.nrrd").run())
    np.testing.assert_array_equal(voxels, scan.grey if name == "volume" else scan.found)
    assert spacing == pytest.approx((1.3, 0.65, 0.7))


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
def test_nrrd_has_all_types(tmp_path, dtype, write_volume):
    voxels = (100 * np.random.default_rng(0).random((5, 6, 7))).astype(dtype)
    write_volume(tmp_path / "a.zarr", voxels, halve_labels, {}, {})
    found, _ = itk(export(open_volume(tmp_path / "a.zarr"), tmp_path / "a.nrrd").run())
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, voxels)


@pytest.mark.parametrize("suffix", ["tif", "nrrd"])
def test_a_part_of_a_coarser_level(scan, tmp_path, suffix):
    box = Box((20, 3, 100), (61, 20, 530))
    path = export(scan.volume, tmp_path / f"a.{suffix}", level=1, box=box).run()
    found, spacing = itk(path)
    np.testing.assert_array_equal(found, scan.volume.read(box, 1))
    if suffix == "nrrd":
        assert spacing == pytest.approx((2.6, 1.3, 1.4))
        origin = SimpleITK.ReadImage(str(path)).GetOrigin()
        assert origin == pytest.approx((100.5 * 1.4 - 0.35, 3.5 * 1.3 - 0.325, 20.5 * 2.6 - 0.65))


def test_a_single_slice_is_a_stack_too(scan, tmp_path):
    path = export(scan.volume, tmp_path / "a.tif", box=Box((7, 0, 0), (8, 40, 3))).run()
    np.testing.assert_array_equal(tifffile.imread(path).squeeze(), scan.grey[7, :, :3])


def test_more_than_4_gb_are_one_entry_and_all_slices(tmp_path):
    """Volume and file are sparse: of both only the last slab is written."""
    shape, path = (1100, 2000, 2100), tmp_path / "a.tif"
    last = np.random.default_rng(0).integers(0, 255, (12, *shape[1:]), np.uint8)
    image = Image(tmp_path / "a.zarr", shape, last.dtype, Codec("zstd"))
    image.write_levels(1088, [last])
    image.finish(Spacing(1, 1, 1), {}, {})
    picture = Picture.of(open_volume(image.path), 0, None)
    ImageJStack().begin(path, picture, {})
    CopySlab(picture, ImageJStack(), path)(picture.blocks()[-1])
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
        assert file.imagej_metadata["images"] == 1100
        offset = file.pages.first.dataoffsets[0]
        assert path.stat().st_size == offset + 1100 * 2000 * 2100
        assert file.series[0].shape == shape
    with open(path, "rb") as file:
        file.seek(offset + 1088 * 2000 * 2100)
        np.testing.assert_array_equal(np.fromfile(file, np.uint8).reshape(last.shape), last)


@pytest.mark.parametrize("name", ["a.tif", "a.nrrd"])
def test_what_was_interrupted_is_not_there_and_goes_on(scan, tmp_path, name):
    undisturbed = export(scan.volume, tmp_path / f"whole-{name}").run()
    path, seen = tmp_path / name, []

    def interrupt(event):
        seen.append((event.stage.name, event.block))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(scan.volume, path).run(listen=interrupt)
    assert seen == [("begin", 0), ("copy", 0)]
    assert not path.exists()
    with pytest.raises(PlanError, match=r"is unfinished and was started with other image"):
        export(scan.labels, path).run()
    rest = []
    export(scan.volume, path).run(listen=rest.append)
    assert [(event.stage.name, event.block) for event in rest] == [("copy", 1), ("copy", 2)]
    assert path.read_bytes() == undisturbed.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {name, f"whole-{name}"}


@pytest.mark.parametrize("name", ["a.tif", "a.nrrd"])
def test_a_run_that_begins_late_loses_nothing_that_another_has_copied(scan, tmp_path, name):
    """It looked before the other had begun, and was held up."""
    whole = export(scan.volume, tmp_path / f"whole-{name}").run().read_bytes()
    plan, seen = export(scan.volume, tmp_path / name), []
    begin = plan.stages[0]

    def late(event):
        if event.stage.name == "copy" and not seen:
            seen.append(event.block)
            begin.task(begin.blocks[0])

    plan.run(listen=late)
    assert seen == [0]
    assert (tmp_path / name).read_bytes() == whole


@pytest.mark.parametrize("name", ["a.tif", "a.nrrd"])
def test_a_finished_file_is_not_written_again_and_not_lost(scan, tmp_path, name):
    path = export(scan.volume, tmp_path / name).run()
    before = path.stat().st_mtime_ns
    assert export(scan.volume, path).run() == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(PlanError, match=r"was started with other image; .*--overwrite"):
        export(scan.labels, path).run()
    export(scan.labels, path).overwrite().run()
    voxels = tifffile.imread(path) if name == "a.tif" else itk(path)[0]
    np.testing.assert_array_equal(voxels, scan.found)


@pytest.mark.parametrize("suffix", ["tif", "nrrd"])
@pytest.mark.parametrize("content", [b"", b"II*\0 no", b"NRRD0005\ntype: uint8\n\n\1", None])
def test_files_of_others_are_left_alone(scan, tmp_path, suffix, content):
    path = tmp_path / f"a.{suffix}"
    if content is None:
        tifffile.imwrite(path, np.zeros((3, 4), np.uint8), imagej=True)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    for plan in (export(scan.volume, path), export(scan.volume, path).overwrite()):
        with pytest.raises(PlanError, match="of xctvol, which will not touch it"):
            plan.run()
    assert path.read_bytes() == before


def test_the_file_says_how_it_was_made(scan, tmp_path):
    plan = export(scan.labels, tmp_path / "a.nrrd")
    head = plan.run().read_bytes().partition(b"\n\n")[0].decode()
    said = json.loads(head.partition("xctvol:=")[2].replace("\\\\", "\\"))
    assert said["recipe"] == plan.recipe.to_json()
    assert said["materials"] == scan.labels.materials.to_json()


def test_what_cannot_be_exported_is_refused(scan, tmp_path, write_volume):
    write_volume(tmp_path / "a.zarr", np.ones((2, 3, 4), np.uint32), halve_labels, {}, {})
    with pytest.raises(UsageError, match=r"ImageJ has no images of uint32.*\.nrrd"):
        export(open_volume(tmp_path / "a.zarr"), tmp_path / "a.tif")
    with pytest.raises(UsageError, match=r"a\.png; it may end in \.tif, \.tiff, \.nrrd or \.glb"):
        export(scan.volume, tmp_path / "a.png")
    with pytest.raises(UsageError, match="no level 2; it has 2, from 0"):
        export(scan.volume, tmp_path / "a.tif", level=2)
    with pytest.raises(InputError, match="does not lie inside level 1"):
        export(scan.volume, tmp_path / "a.tif", level=1, box=Box.whole(scan.volume.shape))
    with pytest.raises(UsageError, match="slices are written to a folder"):
        export(scan.volume, tmp_path / "a.tif", slices=[1])
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr"]


MEMORY = """
import sys
from xctvol.resources import peak_memory
from xctvol.stages.export import export
from xctvol.volume import open_volume

plan = export(open_volume(sys.argv[1]), sys.argv[2])
plan.run()
print(plan.peak_memory, peak_memory())
"""


@pytest.mark.slow
@pytest.mark.parametrize("output", ["a.tif", "a.nrrd", "slices"])
def test_no_more_is_held_than_was_planned(tmp_path, write_volume, output):
    voxels = np.random.default_rng(0).integers(0, 60000, (192, 1024, 1024), np.uint16)
    write_volume(tmp_path / "a.zarr", voxels, halve_grey, {}, {})
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.zarr"), str(tmp_path / output)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    planned, held = map(int, run.stdout.split())
    assert planned / 3 < held <= planned
