"""A folder of slices, to annotate or for programs that want a file for each; and the command."""

import json

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image as Picture
from typer.testing import CliRunner

from xctvol.annotations.layers import images_in
from xctvol.cli import app
from xctvol.errors import PlanError, UsageError
from xctvol.sources import open_source
from xctvol.stages.export import export
from xctvol.stages.verify import verify
from xctvol.volume import halve_labels


def typed(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--quiet"])


def test_every_slice_is_a_file_that_is_read_as_the_scan(scan, tmp_path):
    folder = export(scan.volume, tmp_path / "slices").run()
    source = open_source(folder)
    voxels = np.empty(source.shape, source.dtype)
    source.read_into(0, 150, voxels)
    np.testing.assert_array_equal(voxels, scan.grey)
    assert source.spacing.zyx == pytest.approx((1.3, 0.65, 0.7))
    assert verify(folder).run().good


def test_some_slices_are_images_to_annotate(scan, tmp_path):
    folder = tmp_path / "annotated" / "images"
    run = typed("export", scan.path, folder, "--slices", "140,3,60:130:40")
    assert (run.exit_code, run.stdout.split()) == (0, ["export", str(folder)])
    images = images_in(folder)
    assert list(images) == [f"leaf_{z:04d}" for z in (3, 60, 100, 140)]
    for name, path in images.items():
        np.testing.assert_array_equal(tifffile.imread(path), scan.grey[int(name[-4:])])


def test_labels_are_painted_in_the_colours_of_their_materials(scan, tmp_path):
    run = typed("export", scan.path, tmp_path / "a", "--labels", "tissue", "--slices", "5")
    assert run.exit_code == 0, run.stderr
    with Picture.open(tmp_path / "a" / "tissue_0005.tif") as picture:
        np.testing.assert_array_equal(np.asarray(picture), scan.found[5])
        colors = np.array(picture.getpalette()).reshape(-1, 3)
    assert colors[[3, 7]].tolist() == [[0x8B, 0xC3, 0x4A], [0x6D, 0x4C, 0x41]]


def test_a_label_volume_needs_no_name(scan, tmp_path):
    run = typed("export", scan.path / "labels" / "tissue", tmp_path / "a.tif")
    assert run.exit_code == 0, run.stderr
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages.first.photometric.name == "PALETTE"


def test_numbers_of_regions_have_no_materials_but_are_exported(tmp_path, write_volume):
    numbers = np.random.default_rng(0).integers(0, 1 << 20, (3, 4, 5), np.uint32)
    write_volume(tmp_path / "regions.zarr", numbers, halve_labels, {"image-label": {}}, {})
    run = typed("export", tmp_path / "regions.zarr", tmp_path / "a.nrrd")
    assert run.exit_code == 0, run.stderr
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd")))
    np.testing.assert_array_equal(found, numbers)


def test_other_slices_later_ask_first_and_leave_other_files_alone(scan, tmp_path):
    folder = tmp_path / "images"
    export(scan.volume, folder, slices=[3, 70]).run()
    (folder / "notes.txt").write_text("mine")
    before = (folder / "leaf_0003.tif").read_bytes()
    with pytest.raises(PlanError, match=r"started with other slices; .*--overwrite"):
        export(scan.volume, folder, slices=[3, 80]).run()
    export(scan.volume, folder, slices=[3, 80]).overwrite().run()
    assert sorted(file.name for file in folder.iterdir()) == [
        "export.json", "leaf_0003.tif", "leaf_0080.tif", "notes.txt",
    ]  # fmt: skip  # a folder as it is listed
    assert (folder / "leaf_0003.tif").read_bytes() == before


def test_what_an_interrupted_export_left_is_replaced_as_well(scan, tmp_path):
    folder = tmp_path / "images"

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(scan.volume, folder, slices=[3, 70, 140]).run(listen=interrupt)
    assert (folder / "leaf_0003.tif").exists()
    export(scan.volume, folder, slices=[80]).overwrite().run()
    assert list(images_in(folder)) == ["leaf_0080"]


def test_a_file_of_somebody_else_is_never_replaced(scan, tmp_path):
    folder = export(scan.volume, tmp_path / "images", slices=[3]).run()
    (folder / "leaf_0070.tif").write_bytes(b"theirs")
    with pytest.raises(PlanError, match=r"leaf_0070\.tif exists and was not exported"):
        export(scan.volume, folder, slices=[70])
    assert (folder / "leaf_0070.tif").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["", "..", "../precious", "a/../../precious"])
def test_a_record_that_names_other_places_deletes_nothing_there(scan, tmp_path, name):
    (tmp_path / "precious").mkdir()
    folder = export(scan.volume, tmp_path / "images", slices=[3]).run()
    (folder / "notes.txt").write_text("mine")
    record = json.loads((folder / "export.json").read_text())
    record["files"][name] = "0"
    (folder / "export.json").write_text(json.dumps(record))
    export(scan.volume, folder, slices=[70]).overwrite().run()
    assert (tmp_path / "precious").is_dir()
    assert sorted(file.name for file in folder.iterdir()) == [
        "export.json", "leaf_0070.tif", "notes.txt",
    ]  # fmt: skip  # a folder as it is listed


def test_a_run_that_was_interrupted_goes_on(scan, tmp_path):
    folder, wanted = tmp_path / "a", [3, 70, 80, 140]

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(scan.volume, folder, slices=wanted).run(listen=interrupt)
    first = (folder / "leaf_0003.tif").stat().st_mtime_ns
    assert not (folder / "export.json").exists()
    export(scan.volume, folder, slices=wanted).run()
    assert (folder / "leaf_0003.tif").stat().st_mtime_ns == first
    assert len(images_in(folder)) == 4
    assert verify(folder).run().good


def test_damage_is_found_and_how_to_mend_it_is_said(scan, tmp_path):
    folder = export(scan.volume, tmp_path / "a", slices=[3, 70]).run()
    (folder / "leaf_0070.tif").write_bytes(b"short")
    run = typed("verify", folder)
    assert run.exit_code == 1
    assert "leaf_0070.tif" in run.stdout + run.stderr
    assert f"run xctvol export as then, to {folder} with --overwrite" in run.stdout + run.stderr


def test_a_folder_of_somebody_else_is_left_alone(scan, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scan_0001.tif").write_bytes(b"theirs")
    for plan in (
        export(scan.volume, tmp_path / "a"),
        export(scan.volume, tmp_path / "a").overwrite(),
    ):
        with pytest.raises(PlanError, match="holds no slices of xctvol, which will not write"):
            plan.run()
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["scan_0001.tif"]


def test_slices_that_are_not_there_are_refused(scan, tmp_path):
    with pytest.raises(UsageError, match="no slice 150: there are slices 0 to 149"):
        export(scan.volume, tmp_path / "a", slices=[3, 150])


@pytest.mark.parametrize("text", [" ", "a", "3,", "1:2:3:4", "5:5", "-1", "0:9:0", "1.5"])
def test_slices_that_cannot_be_read_are_refused(scan, tmp_path, text):
    run = typed("export", scan.path, tmp_path / "a", f"--slices={text}")
    assert run.exit_code == 2
    assert "cannot read the slices" in run.stderr
    assert not (tmp_path / "a").exists()
