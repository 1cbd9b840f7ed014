"""What this process may use of the machine: memory, disk, processor threads."""

import os
import resource
import shutil
import socket
import sys
from pathlib import Path

from xctvol.locations import Location, S3Path

__all__ = ["available_memory", "free_disk", "peak_memory", "process_name", "thread_budget"]

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_ROOT = Path("/")


def available_memory() -> int:
    """Bytes this process can still allocate without swapping, within its control groups."""
    return max(0, min([_machine_memory(), *_group_memory(_ROOT)]))


def _group_memory(root: Path) -> list[int]:
    """What each control group above this process has left: jobs and containers are limited so.

    Cached files count as used there, but are given back when memory is asked for.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    left = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            left += _left_in(folder, *names)
    return left


def _left_in(folder: Path, limit: str, usage: str) -> list[int]:
    try:
        free = int((folder / limit).read_text()) - int((folder / usage).read_text())
        statistics = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # the root has no limit; "max" is none
        return []
    cached = dict(line.split(" ", 1) for line in statistics)
    return [free + int(cached.get("total_inactive_file", cached.get("inactive_file", "0")))]


def _machine_memory() -> int:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> int:
    """The most bytes that this process has held in memory."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def process_name() -> str:
    """What no other process is called, on any machine."""
    return f"{socket.gethostname()}:{os.getpid()}"


def free_disk(path: Location) -> int:
    """Free bytes on the disk that holds `path`, or would hold it; a bucket has no end."""
    if isinstance(path, S3Path):
        return sys.maxsize
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
    if chosen.isascii() and chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):  # Linux; macOS has no affinity
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
