"""Dask clusters that somebody else has started: their scheduler killed, a worker's host cut off."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SLABS = 12
CONVERT = ("convert", f"phantom:{64 * SLABS}x224x224", "--window", "0,60000")
PATIENT = ("nice", "-n", "19")  # so that on a busy machine it does not finish before it is hit


@pytest.fixture(scope="session")
def whole(commands, digests, tmp_path_factory):
    """What a run leaves that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    commands.finish(*in_folder(folder), "--cluster", "serial")
    return digests(folder)


def in_folder(folder):
    verb, scan, *options = CONVERT
    return (verb, scan, folder / "a.zarr", *options)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def all_is_equal(commands, digests, whole, out):
    def all_is_equal(orphan):
        """Once a worker has ended whose scheduler is gone; it may still have had a slab."""
        try:
            orphan.wait(60)
        except subprocess.TimeoutExpired:
            orphan.kill()
            orphan.wait()
        assert whole.items() <= digests(out).items()
        commands.finish(*in_folder(out), "--cluster", "serial")  # clears what it has noted
        assert digests(out) == whole

    return all_is_equal


def shards(folder, blocks):
    """When the shards of these blocks were written."""
    found = (folder / f"a.zarr/0/c/{int(file.stem)}/0/0" for file in blocks)
    return {file: file.stat().st_mtime_ns for file in found}


@pytest.mark.parametrize("then", ["another scheduler", "no scheduler"])
def test_a_scheduler_is_killed(commands, outside, journal, out, all_is_equal, wait_until, then):
    scheduler, file = outside.scheduler("first")
    worker = outside.worker(file, *PATIENT)
    commands.forget_messages()
    process = commands.start(*in_folder(out), "--cluster", file)
    wait_until(lambda: journal(out) or not process.is_alive())
    scheduler.kill()
    code, message = commands.end(process)
    assert code == 4, message
    assert message.startswith("xctvol: convert: the dask scheduler has ended, or is out of reach")
    assert message.count("\n") == 1, message
    before = journal(out)
    assert 0 < len(before) < SLABS
    written = shards(out, before)
    cluster = "serial" if then == "no scheduler" else outside.scheduler("second")[1]
    if cluster != "serial":
        outside.worker(cluster)
    commands.finish(*in_folder(out), "--cluster", cluster)
    all_is_equal(worker)
    assert written.items() <= shards(out, before).items(), "finished slabs were done again"


class Host:
    """A network namespace, which is gone when its process ends, and the one cable to it."""

    def __init__(self, process):
        self.enter = ("nsenter", f"--net=/proc/{process.pid}/ns/net")
        self._cable, self._pid = f"xct{process.pid}", str(process.pid)
        third, fourth = process.pid // 63 % 256, process.pid % 63 * 4  # 198.18.0.0/15 is for tests
        self.ours, self.theirs = (f"198.18.{third}.{fourth + n}" for n in (1, 2))

    def connect(self):
        ip("link", "add", self._cable, "type", "veth", "peer", "name", "far", "netns", self._pid)
        ip("addr", "add", f"{self.ours}/30", "dev", self._cable)
        ip("link", "set", self._cable, "up")
        ip("addr", "add", f"{self.theirs}/30", "dev", "far", before=self.enter)
        ip("link", "set", "far", "up", before=self.enter)
        ip("link", "set", "lo", "up", before=self.enter)

    def cut(self):
        ip("link", "set", self._cable, "down")

    def mend(self):
        ip("link", "set", self._cable, "up")


def ip(*words, before=()):
    subprocess.run([*before, "ip", *words], check=True, capture_output=True, text=True)


def network(pid):
    """What names the network of a process, if there is one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/ns/net").readlink()


@pytest.fixture
def host(wait_until):
    missing = [name for name in ("ip", "nsenter", "setpriv", "unshare") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"a host of one's own needs root, ip and util-linux ({missing} missing)")
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]
    with subprocess.Popen(command) as process:
        try:
            wait_until(
                lambda: process.poll() is not None or network(process.pid) != network("self")
            )
            host = Host(process)
            try:
                host.connect()
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no networks of one's own here: {error.stderr.strip()}")
            yield host
        finally:
            process.kill()


# noticed by the system after 12 s, however busy the processes are
NOTICED_SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}


@pytest.mark.parametrize("orphan", ["writes at once", "writes when all is finished"])
def test_a_host_is_cut_off(commands, outside, journal, out, all_is_equal, wait_until, host, orphan):
    _, file = outside.scheduler("scheduler", host.ours, **NOTICED_SOON)
    far = outside.worker(file, *PATIENT, *host.enter, **NOTICED_SOON)
    commands.forget_messages()
    process = commands.start(*in_folder(out), "--cluster", file)
    wait_until(lambda: journal(out) or not process.is_alive())
    host.cut()
    if orphan != "writes at once":
        far.send_signal(signal.SIGSTOP)
    assert len(journal(out)) < SLABS
    outside.worker(file, **NOTICED_SOON)
    code, message = commands.end(process)
    assert code == 0, message
    host.mend()
    far.send_signal(signal.SIGCONT)
    all_is_equal(far)
