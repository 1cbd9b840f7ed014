"""What this process may use of the machine: memory, disk, processor threads."""

import os
import shutil
from pathlib import Path

__all__ = ["available_memory", "free_disk", "thread_budget"]

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory() -> int:
    """Bytes this process can still allocate without swapping, within its control group."""
    limits = [_machine_memory()]
    for limit, usage in _CGROUP_LIMITS:
        try:
            limits.append(int(Path(limit).read_text()) - int(Path(usage).read_text()))
        except (OSError, ValueError):  # no such group, or "max": no limit there
            continue
    return max(0, min(limits))


def _machine_memory() -> int:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_disk(path: Path) -> int:
    """Free bytes on the disk that holds `path`, or would hold it."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def thread_budget() -> int:
    """Threads this process should use: OMP_NUM_THREADS where set, else its processors.

    Executors set OMP_NUM_THREADS in the worker processes they start, so that workers on one
    machine share its processors; torch and numba read the same variable.
    """
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):  # Linux; macOS has no affinity
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
