"""Bad input on the command line: one clear line, the right exit code, nothing that looks whole."""

import contextlib
import shutil

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.demo import write_leaf

IMAGEJ = {"imagej": True, "resolution": (0.5, 0.5), "metadata": {"unit": "um", "spacing": 2.0}}
MATERIALS = """
[[material]]
name = "air"
mask = 0
[[material]]
name = "leaf"
mask = 255
"""


def xctvol(*arguments, cwd):
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result, code, *words):
    """One line on stderr that says these words, nothing on stdout, this exit code."""
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("xctvol: ")
    for word in words:
        assert word in line
    return line


@pytest.fixture
def folder(tmp_path):
    """Ten slices that convert, in scan/, and pairs that fit them."""
    rng = np.random.default_rng(0)
    (tmp_path / "leaf.toml").write_text(MATERIALS)
    for name in ("scan", "pairs/images", "pairs/masks"):
        (tmp_path / name).mkdir(parents=True)
    for z in range(10):
        image = rng.integers(0, 60000, (40, 50)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"scan/s_{z:03d}.tif", image, **IMAGEJ)
        if z < 3:
            tifffile.imwrite(tmp_path / f"pairs/images/s_{z:03d}.tif", image, **IMAGEJ)
            mask = np.where(image > 30000, 255, 0).astype(np.uint8)
            Image.fromarray(mask).save(tmp_path / f"pairs/masks/s_{z:03d}.png")
    return tmp_path


def convert(folder, *options):
    return xctvol("convert", "scan", "a.zarr", "--cluster", "serial", *options, cwd=folder)


def train(folder, *options):
    arguments = ("pairs", "--materials", "leaf.toml", "--output", "m.safetensors")
    small = ("--architecture", "unet", "--epochs", 1)
    return xctvol("train", *arguments, *small, *options, cwd=folder)


def test_the_fixture_converts(folder):
    result = convert(folder, "--json")
    assert result.exit_code == 0, result.stderr
    assert '"voxel size": "2 um"' in result.stdout


def test_missing_path(folder):
    refused(xctvol("convert", "nowhere", "a.zarr", cwd=folder), 3, "nowhere", "does not exist")
    refused(xctvol("info", "nowhere", cwd=folder), 3, "nowhere", "does not exist")
    refused(xctvol("measure", "nowhere.zarr", cwd=folder), 3, "nowhere.zarr does not exist")
    refused(xctvol("segment", "no.zarr", "no.safetensors", cwd=folder), 3, "no.zarr")


def test_empty_folder(folder):
    (folder / "empty").mkdir()
    refused(xctvol("convert", "empty", "a.zarr", cwd=folder), 3, "empty")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((41, 50), np.uint16), ("s_004.tif", "41")),
        (np.zeros((40, 50), np.uint8), ("s_004.tif", "uint8")),
    ],
    ids=["shape", "dtype"],
)
def test_mixed_stack(folder, image, words):
    tifffile.imwrite(folder / "scan/s_004.tif", image)
    refused(convert(folder), 3, *words)
    assert not (folder / "a.zarr").exists()


def test_truncated_tiff(folder):
    file = folder / "scan/s_006.tif"
    file.write_bytes(file.read_bytes()[:-500])
    refused(convert(folder), 3, "s_006.tif")
    assert not (folder / "a.zarr/zarr.json").exists()


def test_gap_in_slice_numbers(folder):
    (folder / "scan/s_005.tif").unlink()
    refused(convert(folder), 3, "5", "allow")
    assert convert(folder, "--allow-gaps").exit_code == 0


def test_no_spacing(folder):
    for file in (folder / "scan").iterdir():
        tifffile.imwrite(file, tifffile.imread(file))
    refused(convert(folder), 3, "voxel size", "--spacing")
    assert convert(folder, "--spacing", "2um").exit_code == 0


def test_existing_output(folder):
    assert convert(folder).exit_code == 0
    refused(convert(folder, "--window", "0,9"), 1, "a.zarr exists", "window", "--overwrite")
    assert convert(folder, "--window", "0,9", "--overwrite").exit_code == 0


def test_no_job_is_submitted_to_read_what_is_not_there(folder):
    for command in ("convert nope a.zarr", "segment scan nope.safetensors", "measure nope.zarr"):
        found = xctvol(*command.split(), "--cluster", "slurm", "--dry-run", cwd=folder)
        refused(found, 3, "nope", "does not exist", "no job is submitted")


@pytest.mark.parametrize("command", ["--window=9", "--spacing=2", "--memory=much", "--cluster=x"])
def test_options_that_make_no_sense(folder, command):
    refused(convert(folder, command), 2, command.split("=")[1])


@pytest.mark.parametrize(
    "option",
    [
        "--part=\u00b3/4", "--part=3/\u00b2", "--part=\u0663/\u0664", "--part=3", "--part=3/",
        "--part=/4", "--part=-1/4", "--part=1/2/3", f"--part=1/{'9' * 5000}",
        "--raw=4x5x\u00b3,uint8", "--raw=4x5,uint8", f"--raw=4x5x{'9' * 5000},uint8",
        "--raw=4x5x6,uint8,small",
    ],
)  # fmt: skip  # words
def test_numbers_that_are_none(folder, option):
    what = "the part" if option.startswith("--part") else "the raw layout"
    refused(convert(folder, option), 2, f"cannot read {what}")
    assert not (folder / "a.zarr").exists()


@pytest.mark.parametrize(
    "command",
    ["verify a.zarr", "study p --materials m --held-out p --output o"],
)
def test_verbs_that_slurm_cannot_run(folder, command):
    found = xctvol(*command.split(), "--cluster", "slurm", cwd=folder)
    refused(found, 2, command.split()[0], "cannot be handed to SLURM")


@pytest.mark.parametrize("option", ["--roi=0:2,,", "--raw=3x4x5,uint8", "--allow-gaps"])
def test_what_describes_a_source_is_not_ignored_without_one(folder, option):
    assert convert(folder, "--quiet").exit_code == 0
    refused(xctvol("verify", "a.zarr", option, cwd=folder), 2, "--allow-gaps", "add --source")


def test_not_enough_memory(folder):
    refused(convert(folder, "--memory", "1MB"), 1, "memory", "1.0 MB")
    assert not (folder / "a.zarr").exists()


def test_unknown_mask_value(folder):
    mask = folder / "pairs/masks/s_001.png"
    Image.fromarray(np.full((40, 50), 9, np.uint8)).save(mask)
    refused(train(folder), 3, "s_001.png", "9", "2000")


def test_mask_of_another_size(folder):
    Image.fromarray(np.zeros((39, 50), np.uint8)).save(folder / "pairs/masks/s_001.png")
    refused(train(folder), 3, "s_001.png", "39", "40")


def test_image_without_a_mask(folder):
    (folder / "pairs/masks/s_001.png").unlink()
    refused(train(folder), 3, "s_001")


def test_one_single_pair(folder):
    for z in (1, 2):
        (folder / f"pairs/images/s_{z:03d}.tif").unlink()
        (folder / f"pairs/masks/s_{z:03d}.png").unlink()
    refused(train(folder), 3, "pairs holds one pair", "at least two")


def test_a_material_that_is_never_shown_trains_with_a_warning(folder):
    with open(folder / "leaf.toml", "a") as table:
        table.write('[[material]]\nname = "vein"\nmask = 9\n')
    result = train(folder, "--quiet")
    assert result.exit_code == 0
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("xctvol: WARNING: no mask in pairs shows vein")


def test_weights_of_another_network(folder):
    torch.save({"conv.weight": torch.zeros(3)}, folder / "other.pth")
    result = train(folder, "--weights", "other.pth")
    refused(result, 3, "other.pth", "unet", "name the architecture")
    refused(train(folder, "--weights", "none.pth"), 3, "none.pth", "does not exist")
    (folder / "m.pth").write_bytes(b"no weights")
    refused(train(folder, "--weights", "m.pth"), 3, "m.pth", "state dict")


def test_models_of_other_materials_cannot_be_scored_together(folder):
    assert train(folder, "--quiet").exit_code == 0
    text = (folder / "leaf.toml").read_text().replace("air", "gas")
    (folder / "leaf.toml").write_text(text)
    other = train(folder, "--quiet", "--output", "n.safetensors")
    assert other.exit_code == 0
    models = ("m.safetensors", "n.safetensors")
    result = xctvol("evaluate", *models, "pairs", "--output", "scores", cwd=folder)
    refused(result, 3, "n.safetensors knows gas, leaf", "air, leaf", "same materials")


def test_what_cannot_be_studied(folder):
    shutil.copytree(folder / "pairs", folder / "test")
    small = ("--architecture", "unet")
    words = ("study", "pairs", "--materials", "leaf.toml", "--held-out", "test", "--output", "s")
    refused(xctvol(*words, *small, "--scans", "a", cwd=folder), 2, "--scans 'a'", "1,2,3")
    refused(xctvol(*words, *small, "--scans", "2,9", cwd=folder), 3, "pairs holds 3", "9 cannot")
    refused(xctvol(*words, *small, "--scans", "1", cwd=folder), 3, "begin with 2 slices")
    refused(xctvol(*words, *small, "--scans", "2", cwd=folder), 3, "s_000.tif is the same image as")
    assert not (folder / "s").exists()


def test_model_of_other_materials(folder):
    assert train(folder, "--quiet").exit_code == 0
    text = (folder / "leaf.toml").read_text().replace("255", "254")
    (folder / "leaf.toml").write_text(text)
    refused(train(folder), 3, "255")  # now the masks do not fit the table
    shutil.copytree(folder / "pairs", folder / "other")
    for mask in (folder / "other/masks").iterdir():
        Image.fromarray(np.full((40, 50), 7, np.uint8)).save(mask)
    result = xctvol("evaluate", "m.safetensors", "other", "--output", "scores", cwd=folder)
    refused(result, 3, "7", "2000")


def test_damaged_model(folder):
    assert convert(folder).exit_code == 0
    (folder / "m.safetensors").write_bytes(b"not a model")
    refused(xctvol("segment", "a.zarr", "m.safetensors", cwd=folder), 3, "m.safetensors")


def test_measuring_before_segmenting(folder):
    assert convert(folder).exit_code == 0
    refused(xctvol("measure", "a.zarr", cwd=folder), 3, "segment")


def test_unwritable_output(folder):
    (folder / "file").write_text("")
    result = xctvol("convert", "scan", "file/a.zarr", "--cluster", "serial", cwd=folder)
    refused(result, 1, "file/a.zarr", "Not a directory")


def test_a_demo_does_not_mix_with_files_of_the_user(folder):
    refused(xctvol("demo", "pairs", cwd=folder), 2, "pairs holds files", "name a new folder")
    refused(xctvol("demo", "leaf.toml", cwd=folder), 2, "leaf.toml is a file")
    assert sorted(path.name for path in (folder / "pairs").iterdir()) == ["images", "masks"]


def test_a_demo_continues_where_it_was_stopped(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "new", tmp_path / "empty"):
        assert next(write_leaf(place)) == 1
        assert next(write_leaf(place)) == 1
        assert (place / ".xctvol-demo").exists()


def test_window_outside_of_the_type(folder):
    for file in (folder / "scan").iterdir():
        tifffile.imwrite(file, np.zeros((40, 50), np.uint8), **IMAGEJ)
    for window in ("1000,2000", "255,300", "-9,0"):
        result = convert(folder, f"--window={window}")
        refused(result, 2, "uint8 (0..255)", "all voxels would be stored as one value")
    assert convert(folder, "--window", "-9,300").exit_code == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--learning-rate=inf", "above 0, and finite"),
        ("--learning-rate=nan", "above 0, and finite"),
        ("--scale=0.001", "scale 0.001 leaves 1 x 1 pixels of a slice of 40 x 50"),
        ("--device=cpu:3", "no device 'cpu:3'"),
        ("--epochs=1000001", "at most 1000000"),
        ("--replicates=1000000000", "at most 1000"),
        ("--spacing=1e9um", "1e9um"),
        ("--output=.", "'.' is no name for a model"),
        ("--output=/", "'/' is no name for a model"),
        ("--output=", "--output is empty"),
    ],
)
def test_trainings_that_make_no_sense(folder, option, words):
    refused(train(folder, option), 2, words)


def test_a_training_that_diverges_says_what_to_type(folder):
    result = train(folder, "--learning-rate", "1e30", "--quiet")
    line = refused(result, 1, "the network has diverged")
    remedy = line.partition(", as ")[2].split()
    assert remedy == ["--learning-rate", "1e+29", "--overwrite"]
    assert train(folder, "--quiet", *remedy[2:], "--learning-rate", "1e-3").exit_code == 0


@pytest.mark.parametrize("grey", ["nan", "inf", "-inf"])
def test_grey_values_that_are_none(folder, grey):
    assert convert(folder, "--quiet").exit_code == 0
    assert train(folder, "--quiet").exit_code == 0
    result = xctvol("segment", "a.zarr", "m.safetensors", f"--skip-below={grey}", cwd=folder)
    refused(result, 2, grey, "give a grey value")


def test_outputs_without_a_name(folder):
    assert convert(folder, "--quiet").exit_code == 0
    assert train(folder, "--quiet").exit_code == 0
    assert xctvol("segment", "a.zarr", "m.safetensors", "-q", cwd=folder).exit_code == 0
    studied = "study pairs --materials leaf.toml --held-out pairs --scans 2 --epochs 1 --output"
    for command in (
        "convert scan", "report a.zarr", "export a.zarr", "measure a.zarr --output",
        "model recalibrate m.safetensors a.zarr --output", "evaluate m.safetensors pairs --output",
        studied,
    ):  # fmt: skip  # words
        for output in (".", "/", ".."):
            refused(xctvol(*command.split(), output, cwd=folder), 2, f"'{output}' is no name for")


def test_a_volume_may_be_the_folder_one_is_in(folder):
    assert convert(folder, "--quiet").exit_code == 0
    refused(xctvol("measure", ".", cwd=folder / "a.zarr"), 3, "holds no labels; segment it first")
    refused(xctvol("report", "/", "a.html", cwd=folder), 2, "'/' is no name for a volume")


@pytest.mark.parametrize("command", [("convert", "", "x"), ("info", ""), ("demo", "")])
def test_empty_words(folder, command):
    refused(xctvol(*command, cwd=folder), 2, f"what follows '{command[0]}' is empty")


def test_a_pattern_that_the_shell_has_filled_in(folder):
    files = sorted(f"scan/{file.name}" for file in (folder / "scan").iterdir())
    line = refused(xctvol("convert", *files, "o.zarr", cwd=folder), 2, "'scan/*.tif'")
    assert "9 more arguments than expected, from 'scan/s_002.tif' on" in line
    assert "s_003" not in line
    refused(xctvol("convert", "a", "b", "c", cwd=folder), 2, "'c'", "see xctvol convert --help")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("convert", "missing argument 'SOURCE'"),
        ("convert a b --workers 0", "invalid value for '--workers'"),
        ("convert a b --bogus", "no such option: --bogus"),
        ("nothing", "no such command 'nothing'"),
        ("model show", "missing argument 'MODEL.safetensors'"),
    ],
)
def test_mistyped_commands(folder, command, words):
    refused(xctvol(*command.split(), cwd=folder), 2, words, "--help")


def test_no_words_at_all_print_the_help(folder):
    for command in ((), ("model",)):
        assert "Usage: " in xctvol(*command, cwd=folder).output


def test_a_table_with_a_byte_order_mark(folder):
    (folder / "leaf.toml").write_text(MATERIALS, encoding="utf-8-sig")
    assert train(folder, "--dry-run").exit_code == 0


def test_a_study_of_too_many_trainings(folder):
    words = "study pairs --materials leaf.toml --held-out pairs --output s --scans 2 --epochs 1"
    result = xctvol(*words.split(), "--replicates", 10**9, "--dry-run", cwd=folder)
    refused(result, 2, "at most 1000 replicates")


def test_grey_values_taken_for_labels_are_warned_of(folder):
    for file in (folder / "scan").iterdir():
        image = np.arange(2000).reshape(40, 50) % 90
        tifffile.imwrite(file, image.astype(np.uint8), **IMAGEJ)
    assert "89 different labels" in convert(folder, "--labels", "--quiet").stdout
    result = convert(folder, "--labels", "--binarize", "--quiet", "--overwrite")
    assert result.exit_code == 0
    assert "WARNING" not in result.stdout


def test_several_labels_ask_for_a_name(folder):
    assert convert(folder, "--quiet").exit_code == 0
    assert train(folder, "--quiet").exit_code == 0
    for name in ("one", "two"):
        result = xctvol("segment", "a.zarr", "m.safetensors", "--labels", name, "-q", cwd=folder)
        assert result.exit_code == 0
    refused(xctvol("measure", "a.zarr", cwd=folder), 3, "one, two: name one of them with --labels")
