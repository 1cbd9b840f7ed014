"""Runs that finish labels of one scan at the same moment: none of them is left out of its list."""

import subprocess
import sys

import pytest

from xctvol.volume import label_names, list_label, unlist_label
from xctvol.volume.metadata import group

RUNS = 2
NAMES = 40

FINISH = """
import sys
from pathlib import Path
from xctvol.volume import list_label, unlist_label
from xctvol.volume.metadata import group

volume, run, names = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print(flush=True)
sys.stdin.readline()
for n in range(names):
    name = f"{run}-{n}"
    group(volume / "labels" / name, {"image-label": {}}, {"recipe": {}})
    list_label(volume, name)
    if n % 4 == 3:
        unlist_label(volume, name)
        (volume / "labels" / name / "zarr.json").unlink()
"""


def test_all_that_finish_together_are_listed(tmp_path):
    command = [sys.executable, "-c", FINISH, str(tmp_path)]
    runs = [
        subprocess.Popen(
            [*command, str(run), str(NAMES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for run in range(RUNS)
    ]
    for run in runs:  # all have loaded what they need
        run.stdout.readline()
    for run in runs:
        run.stdin.write(b"\n")
        run.stdin.close()
    for run in runs:
        assert run.wait(120) == 0
        run.stdout.close()
    left = {f"{run}-{n}" for run in range(RUNS) for n in range(NAMES) if n % 4 != 3}
    assert {*label_names(tmp_path)} >= left


@pytest.fixture
def volume(tmp_path):
    group(tmp_path / "labels/ours", {"image-label": {}}, {"recipe": {}})
    group(tmp_path / "labels/theirs", {"image-label": {}}, {})
    (tmp_path / "labels/unfinished/.xctvol").mkdir(parents=True)
    (tmp_path / "labels/damaged").mkdir()
    (tmp_path / "labels/damaged/zarr.json").write_text("{")
    return tmp_path


def test_only_what_is_finished_and_ours_is_entered_unasked(volume):
    """As when a run was killed before it entered what it had finished."""
    group(volume / "labels", {"labels": ["first", "deleted"]}, {})
    (volume / "labels/first").mkdir()
    list_label(volume, "asked")
    assert label_names(volume) == ["first", "asked", "ours"]


def test_what_is_taken_out_stays_out(volume):
    unlist_label(volume, "ours")
    assert label_names(volume) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from xctvol.volume import list_label, unlist_label

os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing is in place
{change}(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("change", ["list_label", "unlist_label"])
def test_what_a_killed_run_leaves_of_the_list_goes_with_its_labels(volume, change):
    """Others may be writing their own list at that moment, so nobody could clean up beside it."""
    group(volume / "labels", {"labels": ["theirs", "ours"]}, {})
    before = {*volume.rglob("*")}
    code = KILLED.replace("{change}", change)
    killed = subprocess.run([sys.executable, "-c", code, str(volume), "ours"])
    assert killed.returncode == -9
    (left,) = {*volume.rglob("*")} - before
    assert left.suffix == ".partial"
    assert left.parent == volume / "labels/ours"
    assert label_names(volume) == ["theirs", "ours"]
