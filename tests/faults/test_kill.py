"""kill -9 in the middle of convert and segment: run again, and every byte is as if undisturbed."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch

from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import save_model
from xctvol.model.networks import build
from xctvol.stages.export import write_imagej
from xctvol.units import Spacing
from xctvol.volume import Window

pytestmark = pytest.mark.slow
SHAPE = (220, 48, 56)


def xctvol(*arguments, cwd):
    command = [sys.executable, "-m", "xctvol", *map(str, arguments), "--workers", "2", "--quiet"]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(*arguments, cwd):
    process = xctvol(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def content(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A stack of many slabs, a model, and what undisturbed runs make of them."""
    folder = tmp_path_factory.mktemp("kill")
    voxels = np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)
    for z, grey in enumerate(voxels):
        write_imagej(folder / "scan" / f"s_{z:04d}.tif", grey, Spacing(2.0, 2.0, 2.0))
    torch.manual_seed(0)
    materials = Materials.numbered([1, 2, 3])
    card = Card("unet", materials, GreyScale("uint16", Window(0, 50000), 0.4, 0.2))
    save_model(folder / "m.safetensors", card, build("unet", 3).body.state_dict())
    finish(*convert(folder), "whole/a.zarr", cwd=folder)
    whole = content(folder / "whole")
    finish("segment", "whole/a.zarr", "m.safetensors", cwd=folder)
    return folder, whole, content(folder / "whole")


def convert(folder):
    return ("convert", folder / "scan", "--window", "0.1%,99.9%")


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def kill_all(process):
    """The driver and, as a node that dies would, every process it has started."""
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    process.communicate()


def killed_again_and_again(command, journal, cwd, kill, seed):
    """Kill a run each time it has done another block or two, until one comes through."""
    rng = random.Random(seed)
    for kills in range(100):
        before = len(list(journal.glob("*.json")))
        process = xctvol(*command, cwd=cwd)
        goal = before + 1
        wait_for(lambda goal=goal: len(list(journal.glob("*.json"))) >= goal, process)
        time.sleep(rng.random() * 0.05)
        if process.poll() is not None:
            process.communicate()
            assert process.returncode == 0
            return kills
        kill(process)
        assert len(list(journal.glob("*.json"))) >= before, "finished blocks were lost"
    raise AssertionError("a hundred kills and no progress")


def kill_driver(process):
    """Only the driver: its workers must notice and end by themselves."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, f"{len(alive)} workers outlive their driver"


@pytest.mark.parametrize("kill", [kill_all, kill_driver])
def test_convert(scan, tmp_path, kill):
    folder, whole, _ = scan
    target = tmp_path / "a.zarr"
    command = (*convert(folder), target)
    kills = killed_again_and_again(command, target / ".xctvol/slabs", tmp_path, kill, 1)
    assert kills >= 2
    assert content(tmp_path) == whole


def test_segment(scan, tmp_path):
    folder, _, whole = scan
    finish(*convert(folder), tmp_path / "a.zarr", cwd=tmp_path)
    command = ("segment", tmp_path / "a.zarr", folder / "m.safetensors")
    journal = tmp_path / "a.zarr/labels/tissue/.xctvol/slabs"
    kills = killed_again_and_again(command, journal, tmp_path, kill_driver, 2)
    assert kills >= 2
    assert content(tmp_path) == whole


def test_a_killed_worker_costs_only_its_own_blocks(scan, tmp_path):
    folder, _, whole = scan
    finish(*convert(folder), tmp_path / "a.zarr", cwd=tmp_path)
    journal = tmp_path / "a.zarr/labels/tissue/.xctvol/slabs"
    process = xctvol("segment", tmp_path / "a.zarr", folder / "m.safetensors", cwd=tmp_path)
    wait_for(lambda: len(list(journal.glob("*.json"))) >= 1, process)
    done = {file: file.stat().st_mtime_ns for file in journal.glob("*.json")}
    family = psutil.Process(process.pid).children(recursive=True)
    leaves = [member for member in family if not member.children()]
    leaves[-1].kill()
    for file, time_ns in done.items():
        assert not file.exists() or file.stat().st_mtime_ns == time_ns
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert content(tmp_path) == whole
