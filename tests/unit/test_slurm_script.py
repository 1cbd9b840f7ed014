"""Profiles, and the job scripts made of them; no SLURM is needed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError
from xctvol.execution.slurm import TEMPLATE, Command, Profile, batch_script, find_profile

ARGUMENTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "p.toml").write_text(text)
        return Profile.read(tmp_path / "p.toml")

    return read


def test_the_template_is_a_profile(read):
    profile = read(TEMPLATE)
    assert (profile.mode, profile.workers, profile.time) == ("allocation", 4, "04:00:00")
    assert profile.gpu is None


def test_every_line_of_the_template_is_known(read):
    for line in re.findall(r"^# (\w+ = .*)$", TEMPLATE, re.M):
        assert read(line) != Profile(), line


def test_a_profile_is_recorded_whole(read):
    profile = read('mem = "4G"\nsetup = ["module load a", "b"]')
    assert Profile.of(profile.to_json(), Path("run.json")) == profile


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = 0", "are 1 or more"),
        ("workers = true", "workers is True; give it a whole number"),
        ("time = 4", "time is 4; give it one line of text"),
        ('account = "a\\nrm -r /"', "give it one line of text"),
        ('setup = "module load"', "give it a list of lines of text"),
        ('mode = "grid"', "give it 'allocation' or 'array'"),
        ('mem = "4G"\nmem_per_gpu = "4G"', "mem and mem_per_gpu exclude each other"),
        ("wokers = 4", "wokers is not known; use mode, workers"),
        ("workers = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(read, text, message):
    with pytest.raises(InputError, match=rf"p\.toml.*{message}"):
        read(text)


def test_where_a_profile_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = tmp_path / "xctvol-cluster.toml"
    assert find_profile(tmp_path) == here, "the message names this one"
    home = tmp_path / "home/.config/xctvol/cluster.toml"
    home.parent.mkdir(parents=True)
    home.touch()
    assert find_profile(tmp_path) == home
    here.touch()
    assert find_profile(tmp_path) == here
    assert find_profile(tmp_path, home) == home


def test_what_is_left_out_is_not_said():
    text = batch_script(Command(("convert", "a"), Path("/d")), Profile(), Path("/r"))
    options = re.findall("^#SBATCH (.*)", text, re.M)
    assert not [option for option in options if option.startswith(("--mem", "--time", "--part"))]
    assert "--signal=B:USR1@120" in options
    assert "--ntasks=1" in options


def test_what_is_given_is_said_in_order():
    profile = Profile(
        "array", 5, 8, mem_per_gpu="9G", gpu="--gpus-per-task=1",
        setup=("module load x",), sbatch=("--constraint=a100",),
    )  # fmt: skip  # one line of numbers, one of texts
    text = batch_script(Command(("convert", "a"), Path("/d")), profile, Path("/r"))
    for option in ("--array=1-5", "--cpus-per-task=8", "--mem-per-gpu=9G", "--constraint=a100"):
        assert f"\n#SBATCH {option}\n" in text
    assert text.index("#SBATCH --constraint") < text.index("\nmodule load x\n") < text.index("exec")
    assert text.endswith('convert a --cluster serial --part "$SLURM_ARRAY_TASK_ID/5"\n')


@given(ARGUMENTS)
def test_nothing_that_was_typed_is_read_by_the_shell(arguments):
    typed = ("segment", *(argument for argument in arguments if argument != "--"))
    text = batch_script(Command(typed, Path("/d")), Profile(), Path("/r"))
    line = text[text.index("\nexec ") :]
    program = (sys.executable, "-P", "-m", "xctvol")
    assert shlex.split(line) == ["exec", *program, *typed, "--cluster", "allocation"]


def test_the_script_is_bash_and_begins_where_it_was_typed(tmp_path):
    folder = tmp_path / "a 'b' $(touch c)\n d"
    folder.mkdir()
    text = batch_script(Command(("--version",), folder), Profile(setup=("set -eu",)), tmp_path)
    script = text.replace("exec ", "pwd -P; echo ", 1)
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.startswith(f"{folder.resolve()}\n")
    assert not list(tmp_path.rglob("c"))


def test_options_come_before_what_may_not_be_one():
    command = Command(("segment", "--", "-a.zarr", "m"), Path("/d"))
    text = batch_script(command, Profile(), Path("/r"))
    assert text.endswith("segment --cluster allocation -- -a.zarr m\n")


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


def test_a_dry_run_prints_the_script_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("cluster", "init").exit_code == 0
    assert invoke("cluster", "init").exit_code == 1, "it is not overwritten"
    (tmp_path / "scan").mkdir()
    typed = ("convert", "scan", "a.zarr", "--cluster", "slurm", "--workers=7")
    result = invoke(*typed, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "#SBATCH --ntasks=7\n" in result.stdout
    assert result.stdout.endswith("-m xctvol convert scan a.zarr --cluster allocation\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan", "xctvol-cluster.toml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cluster", "slurm", "--overwrite"), "--overwrite what it has done"),
        (("--cluster", "slurm", "--part", "1/2"), "--part is for one share"),
        (("--cluster", "slurm", "--gpus", "1"), "says nothing of GPUs"),
        (("--wait",), "are for --cluster slurm"),
        (("--cluster", "allocation"), "jobs that --cluster slurm has submitted"),
        (("--cluster", "cloud"), "there is no cluster 'cloud'"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    np.save("scan.npy", np.zeros((4, 8, 8), np.uint8))
    for name in ("xctvol-cluster.toml", "a", "m"):
        Path(name).touch()
    segment, convert = ("segment", "a", "m"), ("convert", "scan.npy", "a.zarr", "--spacing", "1um")
    typed = segment if "--gpus" in options else convert
    result = invoke(*typed, *options)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
