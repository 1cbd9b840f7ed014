"""Segment on a real SLURM: the same bytes as Serial, whatever becomes of jobs, workers, nodes."""

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from typer.testing import CliRunner

import xctvol as xv
from xctvol.cli import app
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import save_model
from xctvol.model.networks import build
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.volume import Window

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]  # one cluster serves them all
PROFILE = """\
mode = "{mode}"
workers = 2
mem_per_cpu = "300M"
warning_s = 40
gpu = "--gpus-per-task=1"
sbatch = ['--comment="a test"']
"""
SCAN = "a leaf $x.zarr"  # a name that a shell would take apart
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/jobqueue.py"
SEGMENT = ("segment", SCAN, "m.safetensors")


def run(folder, *arguments):
    """What `xctvol ...` prints, typed in the folder, and its exit code."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, arguments)
    return done.output, done.exit_code


def content(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((folder / SCAN).rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A scan and a model, as the commands find them.

    There is so much to do that there is time to disturb those who do it, on fast machines as well.
    """
    folder = tmp_path_factory.mktemp("inputs")
    xv.convert(Phantom((64 * 20 - 12, 96, 112)), folder / SCAN).run()
    torch.manual_seed(0)
    body = build("unet", len(PHANTOM_MATERIALS)).body
    for layer in body.modules():
        if isinstance(layer, torch.nn.Conv2d):  # strong enough to tell materials apart
            torch.nn.init.normal_(layer.weight, 0, 0.3)
    card = Card("unet", PHANTOM_MATERIALS, GreyScale("uint16", Window(0, 60000), 0.31, 0.17))
    save_model(folder / "m.safetensors", card, body.state_dict())
    return folder


@pytest.fixture
def folder(inputs, tmp_path):
    """A folder of its own with the inputs and both profiles."""
    subprocess.run(["cp", "-r", f"{inputs}/.", tmp_path], check=True)
    for mode in ("allocation", "array"):
        (tmp_path / f"{mode}.toml").write_text(PROFILE.format(mode=mode))
    return tmp_path


def plan(folder):
    volume, model = xv.open_volume(folder / SCAN), xv.open_model(folder / "m.safetensors")
    return xv.segment(volume, model, device="cpu")


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """What Serial makes of it."""
    folder = tmp_path_factory.mktemp("serial")
    subprocess.run(["cp", "-r", f"{inputs}/.", folder], check=True)
    labels = plan(folder).run()
    assert len(labels.volume.own["voxels"]) > 3, "labels that differ, so that mistakes would show"
    return content(folder)


def submit(folder, mode, *options):
    """Hand it to SLURM; gives the ids of the jobs and the run's folder."""
    handing = ("--cluster", "slurm", "--profile", f"{mode}.toml", "--json")
    printed, code = run(folder, *SEGMENT, *handing, *options)
    assert code == 0, printed
    submitted = json.loads(printed)
    return submitted["job"].split(", "), folder / submitted["run"]


def done_blocks(folder):
    found = {}
    for file in (folder / SCAN / "labels/tissue/.xctvol/slabs").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # the run has finished meanwhile
            found[file.name] = file.stat().st_mtime_ns
    return found


def ended(slurm, jobs):
    return lambda: not {job.partition("_")[0] for job in slurm.states()} & {*jobs}


def test_a_cancelled_job_is_resumed(slurm, folder, whole):
    jobs, path = submit(folder, "allocation")
    slurm.until(lambda: slurm.states()[jobs[0]] == "RUNNING")
    command, state = run(folder, "jobs", "status", str(path))[0].splitlines()
    assert command == "xctvol segment 'a leaf $x.zarr' m.safetensors --json"
    assert state.startswith("running    1")
    assert run(folder, "jobs", "resume", str(path))[1] == 2, "it is running"
    slurm.until(lambda: done_blocks(folder))
    assert run(folder, "jobs", "cancel", str(path))[1] == 0
    slurm.until(ended(slurm, jobs))
    before = done_blocks(folder)
    assert before
    assert "xctvol jobs resume" in run(folder, "jobs", "status", str(path))[0]
    assert run(folder, "jobs", "resume", str(path))[1] == 0
    slurm.until(lambda: len(done_blocks(folder)) > len(before) or content(folder) == whole)
    now = done_blocks(folder)
    assert not now or before.items() <= now.items(), "finished blocks were done again"
    slurm.until(lambda: "done: " in run(folder, "jobs", "status", str(path))[0])
    assert content(folder) == whole


def test_a_warned_job_is_put_back_and_finishes(slurm, folder, whole):
    (job,), path = submit(folder, "allocation")
    slurm.until(lambda: done_blocks(folder))
    slurm("scancel", "--batch", "--signal=USR1", job)  # what SLURM does before the time is up
    slurm.until(ended(slurm, [job]))
    assert "done: " in run(folder, "jobs", "status", str(path))[0]
    logs, _ = run(folder, "jobs", "logs", str(path))
    assert "stopped by SIGUSR1" in logs
    assert "voxels, " in logs
    assert (path / "job.sbatch").read_text().startswith("#!/bin/bash")
    assert content(folder) == whole


def test_an_array_is_followed_through_preemption(slurm, folder, whole):
    handing = ("--cluster", "slurm", "--profile", "array.toml", "--wait")
    with subprocess.Popen(
        [sys.executable, "-m", "xctvol", *SEGMENT, *handing], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as following:  # fmt: skip  # one line of what, one of where to
        slurm.until(lambda: done_blocks(folder))
        first = min(slurm.states(), key=lambda job: int(job.partition("_")[0])).partition("_")[0]
        slurm("scontrol", "requeue", f"{first}_2")  # as preemption does
        results, progress = following.communicate(timeout=400)
    assert following.returncode == 0, progress
    assert "voxels, " in results, "what the command printed is on stdout"
    assert "segment: " in progress
    assert content(folder) == whole
    (path,) = (folder / "xctvol-runs").iterdir()
    assert "done: " in run(folder, "jobs", "status", str(path))[0]


def workers():
    """Processes that hold a worker, each with the node and GPU it was given."""
    found = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        name, words = process.info["name"] or "", process.info["cmdline"] or []
        if "python" not in name or "distributed.cli.dask_worker" not in words:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            environment = process.environ()
            if environment.get("SLURM_STEP_ID", "").isdigit():
                place = (environment["SLURMD_NODENAME"], environment["CUDA_VISIBLE_DEVICES"])
                found[process] = place
    return found


def test_killed_workers_and_lost_nodes(slurm, folder, whole):
    (job,), path = submit(folder, "allocation")
    slurm.until(lambda: done_blocks(folder))
    # each worker has a GPU of its own; what they have started sees the same one
    slurm.until(lambda: len({*workers().values()}) == 2)
    first = min(workers(), key=lambda process: process.create_time())
    for process in [*first.children(recursive=True), first]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    done = len(done_blocks(folder))
    slurm.until(lambda: len(done_blocks(folder)) > done or job not in slurm.states())
    assert job in slurm.states(), "all was done before the node could be lost"
    node = slurm("squeue", "-h", "-j", job, "-o", "%B").strip()
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    slurm.until(ended(slurm, [job]))
    assert "done: " in run(folder, "jobs", "status", str(path))[0]
    assert content(folder) == whole


def test_workers_of_dask_jobqueue(slurm, folder, whole):
    command = [sys.executable, str(EXAMPLE), SCAN, "m.safetensors"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert content(folder) == whole
