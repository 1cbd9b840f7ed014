import shutil
from pathlib import Path

import pytest

from xctvol.resources import available_memory, free_disk, thread_budget


def test_available_memory_is_positive_and_no_more_than_the_machine_has():
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < available_memory() <= total


def test_free_disk_of_a_path_that_does_not_exist_yet(tmp_path):
    here = shutil.disk_usage(tmp_path).free
    assert free_disk(tmp_path / "no" / "such" / "folder") == pytest.approx(here, rel=0.05)


def test_free_disk_of_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_disk(Path("scan.zarr")) > 0


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_budget() == 3


@pytest.mark.parametrize("value", ["", "0", "-2", "many"])
def test_threads_are_the_processors_where_nothing_sensible_is_chosen(monkeypatch, value):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    processors = thread_budget()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_budget() == processors >= 1
