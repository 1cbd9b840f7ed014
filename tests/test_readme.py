"""The README is the front door: every command and line of code in it runs, in its order."""

import contextlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torchvision import models
from typer.main import get_command
from typer.testing import CliRunner

from xctvol.annotations import open_layers
from xctvol.cli import app
from xctvol.materials import Materials
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.export import write_imagej

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SHORTER = {  # of equal options the last counts; workers have tests of their own, and the demo
    "train": ["--epochs", "1", "--overwrite"],
    "study": ["--scans", "2", "--epochs", "1", "--replicates", "1", "--architecture", "unet"],
    **{verb: ["--cluster", "serial"] for verb in ("convert", "verify", "segment", "measure")},
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def commands():
    lines = "".join(blocks("sh")).splitlines()
    return [shlex.split(line) for line in lines if line.startswith("xctvol ")]


def write_leaf(folder):
    """A small leaf as the README's user has it: slices, what is drawn on some, and leaf.toml."""
    phantom = Phantom((12, 96, 96))
    (folder / "leaf.toml").write_text(PHANTOM_MATERIALS.to_toml())
    grey, labels = np.empty(phantom.shape, np.uint16), np.empty(phantom.shape, np.uint8)
    phantom.read_into(0, 12, grey)
    phantom.labels_into(0, 12, labels)
    values = np.array([0, *(m.mask[0][0] for m in PHANTOM_MATERIALS)], np.uint8)
    for z in range(12):
        write_imagej(folder / "scan" / f"leaf_{z:04d}.tif", grey[z], phantom.spacing)
    for z, pairs in ((2, "annotated"), (5, "annotated"), (8, "held-out")):
        mask = folder / pairs / "masks" / f"leaf_{z:04d}.tif"
        write_imagej(mask, values[labels[z]], phantom.spacing)
    network = models.get_model(
        "fcn_resnet101", weights=None, weights_backbone=None, aux_loss=True,
        num_classes=len(PHANTOM_MATERIALS),
    )  # fmt: skip  # as XCT_FCN saves it
    torch.save(network.state_dict(), folder / "old.pth")
    glands = (np.random.default_rng(0).random((20, 30, 30)) > 0.9).astype(np.uint8)
    tifffile.imwrite(folder / "glands.tif", glands, photometric="minisblack")


@pytest.mark.slow
def test_every_command_and_the_python_of_the_readme_run(tmp_path, capsys):
    write_leaf(tmp_path)
    runner = CliRunner()
    with contextlib.chdir(tmp_path):
        for _, verb, *arguments in commands():
            result = runner.invoke(app, [verb, *arguments, *SHORTER.get(verb, [])])
            assert result.exit_code == 0, (verb, arguments, result.stderr, result.exception)
            assert result.stdout.strip()
        (code,) = blocks("python")
        exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "segment -> leaf.zarr/labels/tissue" in printed
    assert "mesophyll" in printed


def test_the_tables_of_the_readme_mean_what_it_says(tmp_path):
    materials, layers = blocks("toml")
    (tmp_path / "leaf.toml").write_text(materials)
    (tmp_path / "layers.toml").write_text(layers)
    background, epidermis = Materials.read(tmp_path / "leaf.toml")
    assert (background.mask, epidermis.drawn_as) == (((170,),), ("epi*", 2))
    tissues, air = open_layers(tmp_path, tmp_path)
    assert (tissues.folder.name, tissues.elsewhere) == ("tissues", "mesophyll")
    assert (air.folder.name, air.ignore) == ("air", ((0,),))


def test_the_readme_shows_every_verb_of_the_workflow():
    shown = {command[1] for command in commands()}
    without = {"demo", "jobs", "view"}  # shown as consoles: a cluster, and what lasts until Ctrl-C
    assert shown == set(get_command(app).commands) - without


def test_the_setup_is_two_commands():
    marked = re.findall(r"<!-- (install-[a-z-]+) -->\n```sh\n(.*)\n```", README)
    assert [name for name, _ in marked] == ["install-and-run", "install-and-test"]
    assert "xctvol demo" in marked[0][1]


def test_pictures_and_files_named_in_the_readme_exist():
    named = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(
        r"`([A-Za-z_./-]+\.(?:py|cff))`", README
    )
    for name in named:
        if not name.startswith("http"):
            assert (ROOT / name).exists() or (ROOT / "xctvol" / name).exists(), name


@pytest.mark.parametrize("verb", sorted(get_command(app).commands))
def test_help_fits_a_hundred_columns_and_says_what_each_option_is(verb):
    result = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    for parameter in get_command(app).commands[verb].params:
        assert parameter.help, f"{verb}: {parameter.name} has no help"
