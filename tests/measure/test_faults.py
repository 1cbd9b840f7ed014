"""Measuring that is interrupted, crowded out or given damaged files: the same bytes in the end."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xctvol.errors import InputError
from xctvol.execution import Dask
from xctvol.stages.measure.options import Options
from xctvol.stages.measure.stage import measure_plan
from xctvol.tables import open_tables
from xctvol.units import Spacing

BLOCK = (64, 12, 28)
OPTIONS = Options(6, instances="regions")


@pytest.fixture
def labels(labels_of):
    random = np.random.default_rng(11)
    values = random.choice(np.uint8([0, 1, 2]), (130, 24, 28), p=[0.7, 0.1, 0.2])
    return labels_of(values, Spacing(2.0, 0.5, 0.5))


@pytest.fixture
def want(labels, tmp_path):
    """What an undisturbed run in one block writes."""
    measure_plan(labels, tmp_path / "whole", OPTIONS).run()
    return contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run_alone(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run `code` in another process, which has imported all of measure and started no thread."""
    start = """
import os, resource, signal, sys
from pathlib import Path
from xctvol.errors import PartialError
from xctvol.stages.measure.options import Options
from xctvol.stages.measure.stage import measure_plan
from xctvol.labels import open_labels
labels, output = open_labels(sys.argv[1]), Path(sys.argv[2])
"""
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


FORKED = """
def plan_for(name):
    options = Options(6, instances="regions")
    return measure_plan(labels, output / name, options, (64, 12, 28))

def forked(disturbed, name, *arguments):
    child = os.fork()
    if child == 0:
        try:
            disturbed(name, *arguments)
        except PartialError as error:
            print(name, error, flush=True)
        finally:
            os._exit(0)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(labels, want, tmp_path):
    out = tmp_path / "out"
    measure_plan(labels, out, OPTIONS, BLOCK).run(Dask(2))
    assert contents(out) == want


@pytest.mark.slow
def test_a_killed_run_continues_with_the_same_bytes(labels, want, tmp_path):
    killed = run_alone(
        FORKED + "def disturbed(stage, block):\n"
        "    def kill(progress):\n"
        "        if (progress.stage.name, progress.block) == (stage, block):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "    plan_for(stage).run(listen=kill)\n"
        "for stage, block in (('measure', 2), ('link', 3), ('number', 1)):\n"
        "    forked(disturbed, stage, block)\n",
        labels.volume.path, tmp_path,
    )  # fmt: skip  # the options of a process
    assert killed.stdout.splitlines() == ["measure -9", "link -9", "number -9"], killed.stderr
    for stage in ("measure", "link", "number"):
        out = tmp_path / stage
        with pytest.raises(InputError, match="unfinished"):
            open_tables(out)
        measure_plan(labels, out, OPTIONS, BLOCK).run()
        assert contents(out) == want


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_next_run_continues(labels, want, tmp_path):
    """No file may grow beyond the limit, which the system reports as it does a full disk.

    The first to meet it is the compiler, which keeps its results in files of its own.
    """
    largest = max(map(len, want.values()))
    limits = (largest // 100, largest // 10, largest - 1)
    full = run_alone(
        FORKED + "def disturbed(limit):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)\n"
        "    plan_for(limit).run()\n"
        "for limit in sys.argv[3:]:\n"
        "    forked(disturbed, limit)\n",
        labels.volume.path, tmp_path, *limits, NUMBA_CACHE_DIR=str(tmp_path / "compiled"),
    )  # fmt: skip  # the options of a process
    said = full.stdout.splitlines()
    assert len(said) == 2 * len(limits), full.stderr
    for limit, line in zip(limits, said[::2], strict=True):
        assert line.startswith(f"{limit} ")
        assert "the disk is full" in line
        out = tmp_path / str(limit)
        measure_plan(labels, out, OPTIONS, BLOCK).run()
        assert contents(out) == want


def test_a_damaged_shard_is_named(labels, want, tmp_path):
    shard = next(path for path in (labels.volume.path / "0" / "c").rglob("*") if path.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-40])
    out = tmp_path / "out"
    with pytest.raises(InputError, match=f"{shard.name} is damaged"):
        measure_plan(labels, out, OPTIONS, BLOCK).run()
    shard.write_bytes(whole)
    measure_plan(labels, out, OPTIONS, BLOCK).run()
    assert contents(out) == want


def test_parts_in_any_order_give_the_same_bytes(labels, want, tmp_path):
    out = tmp_path / "out"
    for number in (3, 1, 2, 3, 1, 2, 3):
        measure_plan(labels, out, OPTIONS, BLOCK).part(number, 3).run()
    assert contents(out) == want


@pytest.mark.slow
def test_memory_is_as_planned_and_does_not_grow_with_slices(labels_of, tmp_path):
    peaks, plans = [], []
    for slices in (64, 320):
        values = np.zeros((slices, 256, 384), np.uint8)
        values[:, ::5, ::7] = 1
        values[::4, 2::5, 3::7] = 2
        labels = labels_of(values, name=f"{slices}.zarr")
        out = tmp_path / str(slices)
        plan = measure_plan(labels, out, Options())
        code = (
            "plan = measure_plan(labels, output, Options())\nplan.run()\n"
            "status = open('/proc/self/status').read()\n"  # maxrss would count the parent's
            "print(int(status.split('VmHWM:')[1].split()[0]) * 1024)\n"
        )
        alone = run_alone(code, labels.volume.path, out)
        assert alone.returncode == 0, alone.stderr
        peaks.append(int(alone.stdout))
        plans.append(plan.peak_memory)
    assert peaks[0] <= plans[0]
    assert peaks[1] <= plans[1]
    assert peaks[1] < 1.3 * peaks[0]
