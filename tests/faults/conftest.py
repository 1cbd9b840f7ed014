"""A small scan, a model and labels, and real commands that cost so little that many are killed."""

import contextlib
import hashlib
import importlib
import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import tifffile

from xctvol.stages.export import write_imagej
from xctvol.units import Spacing

HERE = Path(__file__).parent
SHAPE = (200, 32, 40)
"""Four slabs, the last one thin."""

_MATERIALS = """
[[material]]
name = "dark"
mask = 0
[[material]]
name = "grey"
mask = 1
[[material]]
name = "bright"
mask = 2
"""


class Commands:
    """The command line. A call takes no time to start: its process is forked with all imports."""

    def __init__(self, folder):
        self._messages = folder / "messages"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", "forked", "typed"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)  # of workers, too
            patch.syspath_prepend(HERE)
            self._run = importlib.import_module("typed").run
            forkserver.ensure_running()

    def start(self, *arguments):
        """A process that does what `xctvol ARGUMENTS` does."""
        typed = [*map(str, arguments), "--quiet"]
        process = self._context.Process(target=self._run, args=(typed, self._messages))
        process.start()
        return process

    def finish(self, *arguments):
        code, messages = self.say(*arguments)
        assert code == 0, messages

    def say(self, *arguments):
        """Exit code and messages of a command."""
        self.forget_messages()
        return self.end(self.start(*arguments))

    def forget_messages(self):
        self._messages.write_bytes(b"")

    def end(self, process):
        process.join(400)
        return process.exitcode, self.messages()

    def messages(self):
        """Of all commands since the last ones were forgotten."""
        return self._messages.read_text() if self._messages.exists() else ""


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    return Commands(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="session")
def digests():
    def digests(folder):
        """Of every file below a folder, by relative path."""
        return {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }

    return digests


@pytest.fixture(scope="session")
def journal():
    def journal(folder):
        """When each slab was noted as done; the run may take its notes away meanwhile."""
        found = {}
        for place, _, names in os.walk(folder):
            for name in names if Path(place).name == "slabs" else ():
                with contextlib.suppress(FileNotFoundError):
                    found[Path(place, name)] = Path(place, name).stat().st_mtime_ns
        return {file: time for file, time in found.items() if file.suffix == ".json"}

    return journal


@pytest.fixture(scope="session")
def calls():
    """Arguments of each verb, by name: given the inputs and a folder for what comes of them."""

    def train(inputs, out, name="m.safetensors", replicates=2):
        learning = ("--architecture", "forked:network", "--epochs", "8", "--device", "cpu")
        paths = (inputs / "pairs", "--materials", inputs / "leaf.toml", "--output", out / name)
        return ("train", *paths, *learning, "--replicates", replicates)

    def convert(inputs, out):
        return ("convert", inputs / "scan", out / "a.zarr", "--window", "0.1%,99.9%")

    def segment(inputs, out):
        return ("segment", out / "scan.zarr", inputs / "model.safetensors", "--labels", "again")

    def measure(inputs, out):
        return ("measure", inputs / "scan.zarr", "--output", out / "t", "--instances", "regions")

    return {"convert": convert, "segment": segment, "measure": measure, "train": train}


@pytest.fixture(scope="session")
def inputs(commands, calls, tmp_path_factory):
    """A folder with `scan/`, `scan.zarr` with labels, `pairs/`, `leaf.toml` and a model."""
    folder = tmp_path_factory.mktemp("inputs")
    voxels = _blobs(np.random.default_rng(0))
    for z, grey in enumerate(voxels):
        write_imagej(folder / "scan" / f"s_{z:04d}.tif", grey, Spacing(2.0, 2.0, 2.0))
    for z in (10, 70, 130, 190):
        masks = np.digitize(voxels[z], [20000, 40000]).astype(np.uint8)
        for kind, pixels in (("images", voxels[z]), ("masks", masks)):
            (folder / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / "pairs" / kind / f"s_{z:04d}.tif", pixels)
    (folder / "leaf.toml").write_text(_MATERIALS)
    model, volume = folder / "model.safetensors", folder / "scan.zarr"
    commands.finish(*calls["train"](folder, folder, model.name, replicates=1))
    commands.finish("convert", folder / "scan", volume, "--cluster", "serial")
    commands.finish("segment", volume, model, "--cluster", "serial")
    return folder


def _blobs(rng):
    """Noise that hangs together over some voxels, so that there are regions to measure."""
    coarse = rng.integers(0, 60000, [-(-n // 4) for n in SHAPE])
    z, y, x = (np.arange(n) // 4 for n in SHAPE)
    return (coarse[np.ix_(z, y, x)] + rng.integers(0, 3000, SHAPE)).astype(np.uint16)


class OutsideClusters:
    """Dask schedulers and workers that somebody else has started; all end with the test."""

    def __init__(self, folder):
        self._folder = folder
        self._processes = []

    def scheduler(self, name, host="127.0.0.1", **settings):
        """The process, and its scheduler file, which is there."""
        file = self._folder / f"{name}.json"
        process = self._start(
            "scheduler", "--host", host, "--port", "0", "--scheduler-file", file,
            "--idle-timeout", "900", **settings,
        )  # fmt: skip  # an option and its value side by side
        wait_until(file.exists)
        return process, file

    def worker(self, file, *before, **settings):
        """A worker with one thread, started by the words `before`, such as `nice`."""
        options = ("--nthreads", "1", "--no-nanny", "--scheduler-file", file)
        return self._start("worker", *options, before=before, **settings)

    def _start(self, kind, *options, before=(), **settings):
        command = [*before, sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard"]
        with open(self._folder / f"{kind}s.log", "ab") as log:
            process = subprocess.Popen(
                [*command, *map(str, options)], cwd=self._folder, env=os.environ | settings,
                stdout=log, stderr=log,
            )  # fmt: skip  # what, and how
        self._processes.append(process)
        return process

    def end(self):
        for process in self._processes:
            process.kill()
            process.wait()


def wait_until(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come true in {seconds} s"
        time.sleep(0.005)


@pytest.fixture(name="wait_until", scope="session")
def _wait_until():
    return wait_until


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    clusters = OutsideClusters(folder)
    yield clusters
    clusters.end()
