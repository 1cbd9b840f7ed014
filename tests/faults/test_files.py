"""Files that are damaged, vanish or cannot be written: named, and nothing that was done is lost."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SERIAL = ("--cluster", "serial")
FAILING_DISK = Path(__file__).with_name("failing_disk.py")


@pytest.fixture
def copy(inputs, tmp_path):
    """Inputs of which a test may destroy one."""
    shutil.copytree(inputs, tmp_path / "inputs", symlinks=True)
    shutil.rmtree(tmp_path / "inputs/scan.zarr/labels")
    return tmp_path / "inputs"


def vanishes(file):
    file.unlink()


def is_cut(file):
    os.truncate(file, file.stat().st_size // 2)


def cannot_be_read(file):
    file.unlink()
    file.symlink_to("/proc/self/mem")  # of which Linux fails to give the first bytes


@contextlib.contextmanager
def stopped(process):
    """A process that does nothing meanwhile, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize("fault", [vanishes, is_cut, cannot_be_read])
def test_a_slice_is_lost_while_it_is_converted(
    copy, commands, calls, digests, journal, tmp_path, fault
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    whole.mkdir()
    commands.finish(*calls["convert"](copy, whole), *SERIAL)
    command = (*calls["convert"](copy, out), *SERIAL)
    lost, safe = copy / "scan/s_0199.tif", tmp_path / "safe.tif"
    shutil.copy2(lost, safe)
    for _ in range(30):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        process = commands.start(*command)
        while not journal(out) and process.exitcode is None:
            time.sleep(0.001)
        with stopped(process):
            fault(lost)
        code, message = commands.end(process)
        lost.unlink(missing_ok=True)
        shutil.copy2(safe, lost)
        if code != 0:  # else it had read the slice before, on a busy machine
            break
    assert code == 3, message
    assert "s_0199.tif" in message
    assert "Traceback" not in message
    assert journal(out)
    first = next((out / "a.zarr/0/c/0").rglob("0")).stat().st_mtime_ns
    commands.finish(*command)
    assert next((out / "a.zarr/0/c/0").rglob("0")).stat().st_mtime_ns == first
    assert digests(out) == digests(whole)


def test_a_damaged_shard_is_named_and_mended(copy, commands, digests, journal, tmp_path):
    scan, model = copy / "scan.zarr", copy / "model.safetensors"
    shutil.copytree(scan, tmp_path / "whole.zarr")
    commands.finish("segment", tmp_path / "whole.zarr", model, *SERIAL)
    shard = scan / "0/c/3/0/0"
    content = shard.read_bytes()
    shard.write_bytes(content[:-40])
    code, message = commands.say("segment", scan, model, *SERIAL)
    assert code == 3
    assert "slices 192 to 199" in message
    assert "0/c/3/0/0 is damaged" in message
    assert len(journal(scan)) == 3
    labels = [scan / f"labels/tissue/0/c/{n}/0/0" for n in range(3)]
    written = [file.stat().st_mtime_ns for file in labels]
    shard.write_bytes(content)
    commands.finish("segment", scan, model, *SERIAL)
    assert [file.stat().st_mtime_ns for file in labels] == written
    assert digests(scan) == digests(tmp_path / "whole.zarr")


@pytest.mark.parametrize("damage", ["cut", "zeros", "last bytes"])
def test_a_damaged_model_is_refused_and_the_whole_one_continues(copy, commands, journal, damage):
    scan, model = copy / "scan.zarr", copy / "model.safetensors"
    commands.finish("segment", scan, model, "--part", "1/4", *SERIAL)
    weights = model.read_bytes()
    wrong = {
        "cut": weights[: len(weights) // 2],
        "zeros": bytes(100),
        "last bytes": weights[:-8] + b"\xff" * 8,
    }
    model.write_bytes(wrong[damage])
    code, message = commands.say("segment", scan, model, *SERIAL)
    assert code != 0, "another model has continued the labels"
    assert "model.safetensors" in message or "was started with other model" in message
    done = journal(scan)
    assert len(done) == 1
    model.write_bytes(weights)
    commands.finish("segment", scan, model, *SERIAL)
    assert not journal(scan)


def test_a_full_disk_is_named_and_the_run_continues(copy, commands, digests, tmp_path):
    shutil.copytree(copy, tmp_path / "whole")
    command = ("convert", copy / "scan", copy / "b.zarr", *SERIAL)
    limited = [sys.executable, "-m", "xctvol", *map(str, command), "--quiet"]

    def small_files():  # the next best thing to a full disk that any user can have
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    run = subprocess.run(
        limited, capture_output=True, text=True, timeout=200, preexec_fn=small_files
    )
    assert run.returncode == 4, run.stderr
    assert "the disk is full: cannot write" in run.stderr
    assert not list(copy.rglob("*.partial"))
    commands.finish(*command)
    commands.finish("convert", copy / "scan", tmp_path / "whole/b.zarr", *SERIAL)
    assert digests(copy / "b.zarr") == digests(tmp_path / "whole/b.zarr")


def test_a_folder_that_cannot_be_written_is_named(inputs, tmp_path):
    """A mount of its own: root may write whatever permissions say."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a read-only mount of one's own needs root and unshare")
    command = [sys.executable, "-m", "xctvol", "convert", str(inputs / "scan"), "out/a.zarr"]
    (tmp_path / "out").mkdir()
    mount = "mount -t tmpfs -o ro none out || exit 77"
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh", *command, *SERIAL],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip  # where and how
    if run.returncode == 77:
        pytest.skip(f"no mounts here: {run.stderr.strip()}")
    assert run.returncode in (1, 3)
    assert "Read-only file system" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_disk_that_fails_is_named_and_runs_continue(inputs, tmp_path):
    """What each verb reads in the middle lies on a disk that gives it only the second time."""
    missing = [name for name in ("mkfs.ext4", "unshare") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(
            f"a disk of one's own needs root, and mkfs.ext4 and unshare ({missing} missing)"
        )
    command = ["unshare", "--mount", sys.executable, FAILING_DISK, inputs, tmp_path / "work"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400)
    if run.returncode == 77:
        pytest.skip(f"no mounts here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    for said in json.loads(run.stdout.splitlines()[-1]):
        assert said["code"] == 3, said
        assert f"cannot read {said['file']}: Input/output error" in said["message"], said
        assert said["then"] == 0, said
        assert said["equal"], said
