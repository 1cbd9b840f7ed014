"""Local workers: killed, killed by blocks, and stopped with their command while they work."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

pytestmark = pytest.mark.slow

TASKS = """
import os, signal
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class KillsItsWorker:
    at: tuple[int, ...]

    def __call__(self, block):
        if block.index in self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return block.index

@dataclass(frozen=True)
class KillsItsFirstWorker:
    before: int
    folder: Path

    def __call__(self, block):
        tried = self.folder / f"tried-{block.index}"
        if block.index < self.before and not tried.exists():
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return block.index
"""
RUN = """
import sys
from pathlib import Path
from tasks import KillsItsFirstWorker, KillsItsWorker
from xctvol.errors import PartialError
from xctvol.execution import Dask
from xctvol.grid import Grid
from xctvol.journal import Journal
from xctvol.plan import Stage

grid, journal = Grid((12, 1, 1), (1, 1, 1)), Journal(Path("journal"))
stage = Stage("count", {task}, grid, journal)
try:
    with Dask(workers={workers}).session(1) as run:
        run(stage, stage.pending(), lambda _: None)
except PartialError as error:
    print(error)
print(sorted(stage.journal.done()))
"""


def run_twelve_blocks(folder, task, workers):
    """What the run prints: its error, if there is one, and the blocks done."""
    (folder / "tasks.py").write_text(TASKS)
    (folder / "run.py").write_text(RUN.format(task=task, workers=workers))
    found = subprocess.run(
        [sys.executable, "run.py"], cwd=folder, capture_output=True, text=True, timeout=280,
        check=True,
    )  # fmt: skip  # what and how
    return found.stdout.splitlines()


def test_blocks_that_kill_every_worker_are_named_after_all_others_are_done(tmp_path):
    message, done = run_twelve_blocks(tmp_path, "KillsItsWorker((5, 8))", workers=2)
    assert "slices 5 to 5, slices 8 to 8 killed every worker" in message
    assert done == str([n for n in range(12) if n not in (5, 8)])


def test_workers_that_die_at_work_are_always_started_again(tmp_path):
    """Six deaths in a row, more than are granted to one that never was at work."""
    (done,) = run_twelve_blocks(tmp_path, "KillsItsFirstWorker(6, Path.cwd())", workers=1)
    assert done == str([*range(12)])
    assert len([*tmp_path.glob("tried-*")]) == 6


@pytest.mark.parametrize(
    ("at_start", "said"),
    [
        ("raise ImportError('libcuda.so.1: not found')", "code 1 and said: "),
        ("import os\nos.kill(os.getpid(), 9)", "was killed by signal 9 and said nothing"),
    ],
)
def test_workers_that_cannot_start_end_the_run(tmp_path, at_start, said):
    """They find another module of the name than the command does, whose path is not theirs."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/distributed.py").write_text(at_start)
    begin = (
        "import os, sys; import distributed; from xctvol.cli import main; "
        "os.environ['PYTHONPATH'] = 'theirs:' + os.environ.get('PYTHONPATH', ''); main()"
    )
    command = ("convert", "phantom:70x32x32", "a.zarr", "--workers", "2", "--quiet")
    run = subprocess.run(
        [sys.executable, "-c", begin, *command], cwd=tmp_path, capture_output=True,
        text=True, timeout=280,
    )  # fmt: skip  # what and how
    assert run.returncode == 4, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("xctvol: no worker process can be started: 5 times in a row each")
    assert said in line
    assert "ImportError" not in at_start or "ImportError: libcuda.so.1: not found;" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 4)])
def test_a_stopped_command_keeps_what_is_done_and_leaves_no_worker(tmp_path, number, code):
    command = [
        sys.executable, "-m", "xctvol", "convert", "phantom:1024x512x512", "a.zarr",
        "--workers", "2", "--quiet",
    ]  # fmt: skip  # one command
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "a.zarr/.xctvol/slabs"
    while not list(journal.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, message = process.communicate(timeout=200)
    assert process.returncode == code
    assert "run the same command to continue" in message
    _, alive = psutil.wait_procs(workers, timeout=100)
    assert not alive
    finished = {file.name: file.stat().st_mtime_ns for file in journal.glob("*.json")}
    shards = [tmp_path / f"a.zarr/0/c/{int(name[:6])}/0/0" for name in finished]
    written = [shard.stat().st_mtime_ns for shard in shards]
    subprocess.run(command, cwd=tmp_path, timeout=300, check=True)
    assert [shard.stat().st_mtime_ns for shard in shards] == written


def kill_driver(process, _):
    """Only the driver: its workers must notice and end by themselves."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    _, alive = psutil.wait_procs(workers, timeout=200)
    assert not alive, f"{len(alive)} workers outlive their driver"


def kill_tree(process, _):
    """The driver and all it has started, as a node that dies would."""
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        each.kill()


def kill_worker(process, rng):
    """One of the workers; the run goes on."""
    rng.choice(psutil.Process(process.pid).children(recursive=True)).kill()


KILLS = 3


@pytest.mark.parametrize("verb", ["convert", "segment"])
def test_kills_of_workers_drivers_and_whole_trees(
    verb, inputs, commands, calls, digests, journal, tmp_path_factory
):
    def fresh(name):
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(inputs / "scan.zarr", folder / "scan.zarr")
        return folder, calls[verb](inputs, folder)

    whole, command = fresh("whole")
    commands.finish(*command, "--cluster", "serial")
    expected = digests(whole)
    rng, kills = random.Random(verb), 0
    while kills < KILLS:
        folder, command = fresh("killed")
        code = None
        while code != 0:
            before = journal(folder)
            code, hits = _killed_once(commands, command, partial(journal, folder), rng)
            kills += hits
            done = journal(folder)
            again = {file for file in before.keys() & done.keys() if before[file] != done[file]}
            assert not again, "finished blocks were done again"
            # a finished product's journal is taken away, and that too can be cut short
            assert before.keys() <= done.keys() or expected.items() <= digests(folder).items()
        assert digests(folder) == expected


def _killed_once(commands, command, done, rng):
    """The exit code of a run in which something was killed, unless it had ended before."""
    before, hits = done(), 0
    process = commands.start(*command, "--workers", "2")
    latest = time.monotonic() + rng.choice([3, 60]) * rng.random()
    while process.is_alive() and done() == before and time.monotonic() < latest:
        time.sleep(0.002)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):  # it has ended meanwhile
        rng.choice([kill_driver, kill_tree, kill_worker])(process, rng)
        hits = 1
    code, message = commands.end(process)
    assert code in (0, -signal.SIGKILL), message
    return code, hits
