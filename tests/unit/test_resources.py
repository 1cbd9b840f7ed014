import shutil
from pathlib import Path

import pytest

from xctvol.resources import _group_memory, available_memory, free_disk, thread_budget


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


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_in_", "!").replace("__", ".").replace("!", "_in_")).write_text(
            text
        )


def test_limits_of_all_control_groups_above_count(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_7/step\n")
    mount = tmp_path / "sys/fs/cgroup"
    stat = "anon 5\ninactive_file 300\n"
    group(mount / "slurm", memory__max="max\n", memory__current="9\n", memory__stat=stat)
    group(mount / "slurm/job_7", memory__max="5000", memory__current="4000", memory__stat=stat)
    group(mount / "slurm/job_7/step", memory__max="9000", memory__current="0", memory__stat=stat)
    assert _group_memory(tmp_path) == [9300, 1300]


def test_control_groups_of_the_first_version(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("7:cpu:/a\n4:hugetlb,memory:/job\n")
    group(
        tmp_path / "sys/fs/cgroup/memory/job",
        memory__limit_in_bytes="1000",
        memory__usage_in_bytes="900",
        memory__stat="total_inactive_file 50\n",
    )
    assert _group_memory(tmp_path) == [150]


def test_no_control_groups_no_limits(tmp_path):
    assert _group_memory(tmp_path) == []
