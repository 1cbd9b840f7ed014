import contextlib
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xctvol.errors import InputError, PartialError, XctvolError
from xctvol.files import (
    read_json,
    remove_partials,
    remove_tree,
    sha256,
    staged,
    start_flush,
    write_atomic,
    write_json,
)


class Interrupted(Exception):
    pass


def everything_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new folder" / "product"
    with staged(path) as partial:
        partial.write_bytes(b"whole")
        assert not path.exists()
        assert partial.parent == path.parent, "a rename never crosses disks"
    assert path.read_bytes() == b"whole"
    assert everything_in(path.parent) == ["product"]


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, OSError])
def test_an_exception_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "product"
    path.write_bytes(b"old")
    with pytest.raises(error), staged(path) as partial:  # noqa: PT012 - it must fail half-way
        partial.write_bytes(b"ha")
        raise error
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == ["product"]


def test_two_writers_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "product"
    with staged(path) as first, staged(path) as second:
        first.write_bytes(b"same")
        second.write_bytes(b"same")
        assert first != second
    assert path.read_bytes() == b"same"


def test_parts_are_joined(tmp_path):
    path = tmp_path / "product"
    write_atomic(path, b"ab", bytearray(b""), memoryview(b"cdef")[::1])
    assert path.read_bytes() == b"abcdef"


FILL = """
    import resource, signal, sys
    from pathlib import Path
    from xctvol.files import write_atomic
    from xctvol.errors import PartialError

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        write_atomic(Path(sys.argv[1]), bytes(3000), bytes(3000))
    except PartialError as error:
        sys.stdout.write(str(error))
"""


def test_a_file_that_cannot_grow_is_a_partial_error_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "product"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", textwrap.dedent(FILL), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert f"the disk is full: cannot write {path}" in run.stdout, run.stderr
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == ["product"]


def test_a_full_disk_is_a_partial_error_and_leaves_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(PartialError, match="make room and run the same command again"):
            write_atomic(disk / "product", bytes(200_000))
        assert everything_in(disk) == []
        write_atomic(disk / "product", bytes(10_000))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "µ"]}, [], "text", 7])
def test_json_survives(tmp_path, value):
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_has_no_infinity(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", value)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json_is_an_input_error(tmp_path, content):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read {path}"):
        read_json(path)


def test_missing_json_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"value\.json does not exist"):
        read_json(tmp_path / "value.json")


def kill_while_writing(path):
    """Leave what a killed writer of `path` leaves, and return it."""
    with pytest.raises(Interrupted), staged(path) as partial:  # noqa: PT012 - it must fail half-way
        partial.write_bytes(b"ha")
        kept = partial.read_bytes()
        raise Interrupted
    partial.write_bytes(kept)
    return partial


def test_partials_of_a_folder_are_removed_wherever_they_lie(tmp_path):
    product = tmp_path / "scan.zarr"
    whole = product / "0" / "c" / "0"
    write_atomic(whole, b"whole")
    left = [
        kill_while_writing(product / "0" / "c" / "1"),
        kill_while_writing(product / "zarr.json"),
    ]
    remove_partials(product)
    assert not any(partial.exists() for partial in left)
    assert whole.read_bytes() == b"whole"


def test_partials_of_others_who_are_at_work_inside_stay(tmp_path):
    """As when labels are written in a volume that another run finds finished."""
    theirs = kill_while_writing(tmp_path / "labels" / "tissue" / "0" / "c" / "1")
    (tmp_path / "labels" / "tissue" / ".xctvol").mkdir()
    remove_partials(tmp_path)
    assert theirs.exists()
    (tmp_path / "labels" / "tissue" / ".xctvol").rmdir()
    remove_partials(tmp_path)
    assert not theirs.exists()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("report.html", "other.html"),
        ("report", "report.html"),
        ("report [v1].html", "report v.html"),
        ("a*b", "acb"),
    ],
)
def test_partials_of_a_file_are_removed_and_no_others(tmp_path, name, other):
    mine, theirs = kill_while_writing(tmp_path / name), kill_while_writing(tmp_path / other)
    remove_partials(tmp_path / name)
    assert (mine.exists(), theirs.exists()) == (False, True)


def test_remove_tree_takes_files_folders_links_and_nothing(tmp_path):
    target = tmp_path / "target"
    (target / "deep").mkdir(parents=True)
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(target)
    file.touch()
    for path in (link, file, tmp_path / "missing"):
        remove_tree(path)
    assert everything_in(tmp_path) == ["target"], "what a link points to stays"
    remove_tree(target)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("other", ["removes", "adds"])
def test_a_folder_is_removed_while_another_run_is_in_it(tmp_path, other):
    """Two runs of one plan that finish at once take away the same journal."""
    for trial in range(10):
        folder = tmp_path / str(trial)
        folder.mkdir()
        for n in range(50):
            (folder / f"{n}.json").touch()
        begin = threading.Barrier(2)

        def meanwhile(folder=folder, begin=begin):
            begin.wait()
            if other == "removes":
                remove_tree(folder)
                return
            for n in range(100):
                with contextlib.suppress(FileNotFoundError):
                    (folder / f"{n} again").touch()

        with ThreadPoolExecutor(1) as pool:
            another = pool.submit(meanwhile)
            begin.wait()
            remove_tree(folder)
            another.result()
        assert not folder.exists()


def test_sha256_is_that_of_the_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_flushing_early_changes_nothing_of_what_is_written(tmp_path):
    content = bytes(range(256)) * 256
    with staged(tmp_path / "a") as partial, open(partial, "wb") as file:
        for start in range(0, len(content), 10_000):
            stop = start + file.write(content[start : start + 10_000])
            start_flush(file, start, stop)
    assert (tmp_path / "a").read_bytes() == content


def test_what_cannot_be_written_is_said_with_what_to_do(tmp_path):
    """As root may write everywhere, a file stands in the place of a folder."""
    (tmp_path / "file").touch()
    with pytest.raises(XctvolError, match=r"cannot write .*file/value\.json: .*; choose another"):
        write_json(tmp_path / "file" / "value.json", {})


def test_what_cannot_be_read_meanwhile_keeps_its_name(tmp_path):
    with pytest.raises(NotADirectoryError), staged(tmp_path / "a") as partial:  # noqa: PT012
        partial.touch()
        (tmp_path / "b").touch()
        (tmp_path / "b" / "c").read_bytes()
