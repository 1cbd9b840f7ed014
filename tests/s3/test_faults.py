"""Servers that refuse, vanish or cannot do all of S3; runs that are killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, PartialError
from xctvol.files import remove_tree, states_below
from xctvol.grid import Box
from xctvol.locations import located
from xctvol.stages.convert import convert
from xctvol.volume import open_volume
from xctvol.volume.array import ZarrArray, open_array

WITHOUT_RANGES = """
import localbucket
class Handler(localbucket.S3Handler):
    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            del self.headers["Range"]
        return parsed
localbucket.S3Handler = Handler
localbucket.main()
"""
CONVERT = """
import sys, xctvol as xv
source = xv.open_source(sys.argv[1], spacing=xv.Spacing(2.0, 0.65, 0.65))
xv.convert(source, sys.argv[2]).run()
"""


def objects(folder):
    """Content of every file, by name."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def complaint(*arguments):
    """The exit code and the one line of a command that fails."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.stderr.count("\n") == 1, result.stderr
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in result.stderr
    assert os.environ["AWS_ACCESS_KEY_ID"] not in result.stderr
    return result.exit_code, result.stderr


def both(place):
    """A command that reads, and one that writes."""
    source = "phantom:4x8x8?seed=0"
    writing = ("convert", source, place, "--spacing", "1um", "--cluster", "serial", "--quiet")
    return ("info", place), writing


def test_wrong_credentials(servers, monkeypatch):
    url, _ = servers["nanio"].bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers["nanio"].url)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    for command in both(f"{url}/a.zarr"):
        code, line = complaint(*command)
        assert code == 3
        assert "access is refused: check AWS_ACCESS_KEY_ID" in line


@pytest.mark.parametrize("name", ["localbucket", "nanio"])
def test_no_such_bucket(servers, monkeypatch, name):
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers[name].url)
    for command in both(f"s3://not-there-on-{name}/a.zarr"):
        code, line = complaint(*command)
        assert code == 3
        assert "there is no such bucket" in line


def test_no_server_is_said_soon(monkeypatch):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        for command in both("s3://no-server/a.zarr"):
            start = time.monotonic()
            code, line = complaint(*command)
            assert (code, time.monotonic() - start < 30) == (3, True)
            assert "the server does not answer: check AWS_ENDPOINT_URL" in line


def test_http_has_to_be_allowed(servers, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers["localbucket"].url)
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    code, line = complaint("info", "s3://not-allowed/a.zarr")
    assert code == 3
    assert "set AWS_ALLOW_HTTP=true" in line


def test_an_unfinished_volume_says_so(scan, one_bucket):
    url, _ = one_bucket
    convert(scan, f"{url}/a.zarr").part(1, 3).run()
    with pytest.raises(InputError, match="is unfinished: run the command that made it again"):
        open_volume(f"{url}/a.zarr")
    with pytest.raises(InputError, match=r"b\.zarr does not exist"):
        open_volume(f"{url}/b.zarr")


def test_a_server_without_ranges_is_named(scan, start):
    url, _ = start(WITHOUT_RANGES).bucket()
    volume = convert(scan, f"{url}/a.zarr").run()
    assert volume.read(Box.whole(volume.shape)).any()  # whole shards come whole
    with pytest.raises(InputError, match=r"the server cannot give parts of objects"):
        volume.read(Box((0, 0, 0), (1, 1, 1)))


def test_a_server_that_cannot_do_what_another_library_asks(servers, monkeypatch):
    """zarr finds the index of a shard by a suffix range."""
    url, folder = servers["nanio"].bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers["nanio"].url)
    voxels = np.ones((4, 8, 8), np.uint16)
    zarr.create_array(folder / "foreign", data=voxels, chunks=(2, 8, 8), shards=(4, 8, 8))
    array = open_array(located(f"{url}/foreign"))
    assert isinstance(array, ZarrArray)
    with pytest.raises(InputError, match="the server answers with status 400"):
        array.read_into(Box((0, 0, 0), (1, 8, 8)), voxels[:1])


@pytest.mark.parametrize("damage", ["cut", "empty", "index", "chunk"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_shard_is_named(scan, one_bucket, damage, whole):
    url, folder = one_bucket
    volume = convert(scan, f"{url}/a.zarr").run()
    shard = folder / "a.zarr/0/c/0/0/0"
    data = bytearray(shard.read_bytes())
    if damage in ("cut", "empty"):
        del data[len(data) // 2 if damage == "cut" else 0 :]
    else:
        data[-7 if damage == "index" else 2] ^= 255
    shard.write_bytes(data)
    box = Box.whole(volume.shape) if whole else Box((0, 0, 0), (1, 1, 1))
    with pytest.raises(InputError, match=r"a\.zarr/0/c/0/0/0 is damaged"):
        volume.read(box)


@dataclass(frozen=True)
class Ending:
    """A source during which the server ends, when its second slab is read."""

    source: Any
    pid: int

    def __getattr__(self, name):
        return getattr(self.source, name)

    def read_into(self, z0, z1, out):
        if z0 >= 64:
            os.kill(self.pid, signal.SIGKILL)
        self.source.read_into(z0, z1, out)


def test_a_server_that_ends_half_way(scan, start, tmp_path):
    server = start()
    url, folder = server.bucket()
    with pytest.raises(PartialError, match=r"the server does not answer.*again to continue"):
        convert(Ending(scan, server.process.pid), f"{url}/a.zarr").run()
    server.stop()
    first = folder / "a.zarr/0/c/0/0/0"
    before = first.stat().st_mtime_ns
    server.start()
    convert(scan, f"{url}/a.zarr").run()
    assert first.stat().st_mtime_ns == before, "a finished slab was written again"
    convert(scan, tmp_path / "a.zarr").run()
    assert objects(folder / "a.zarr") == objects(tmp_path / "a.zarr")


def test_a_killed_run_continues_where_it_was(scan, bucket, tmp_path):
    url, folder = bucket
    command = [sys.executable, "-c", CONVERT, str(scan.files[0]), f"{url}/a.zarr"]
    journal = folder / "a.zarr/.xctvol/slabs"
    with subprocess.Popen(command) as process:
        while not list(journal.glob("*.json")) and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = sorted(int(file.stem) for file in journal.glob("*.json"))
    assert done
    shard = folder / f"a.zarr/0/c/{done[0]}/0/0"
    before = shard.stat().st_mtime_ns
    convert(scan, f"{url}/a.zarr").run()
    assert shard.stat().st_mtime_ns == before, "a finished slab was written again"
    convert(scan, tmp_path / "a.zarr").run()
    assert objects(folder / "a.zarr") == objects(tmp_path / "a.zarr")


def test_many_objects_are_listed_and_removed(one_bucket):
    url, folder = one_bucket
    (folder / "many").mkdir()
    names = {f"{n:04d}" for n in range(1100)}  # more than a page of a list
    for name in names:
        (folder / "many" / name).write_bytes(name.encode())
    (folder / "many.json").write_bytes(b"{}")
    place = located(f"{url}/many")
    states = states_below(place)
    assert {name: nbytes for name, (nbytes, _) in states.items()} == dict.fromkeys(names, 4)
    assert {path.name for path in place.iterdir()} == names
    remove_tree(place)
    assert not place.exists()
    assert [*objects(folder)] == ["many.json"]


def test_without_the_library_it_is_named():
    code = "import sys; sys.modules['obstore'] = None; from xctvol.cli import main; main()"
    command = [sys.executable, "-c", code, "info", "s3://bucket/a.zarr"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 3
    assert "pip install 'xctvol[s3]'" in run.stderr
    assert run.stderr.count("\n") == 1
