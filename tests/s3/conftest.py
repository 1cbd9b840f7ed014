"""Real S3 servers on loopback, each a process; their buckets are folders that tests look into."""

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import tifffile

from xctvol.sources import open_source
from xctvol.units import Spacing

KEY, SECRET = "AKIDOFTHESETESTS", "secret-of-these-tests"
SHAPE = (150, 16, 1100)  # three slabs, two levels
_NUMBERS = count()

LOCALBUCKET = """
import localbucket  # gives all of S3 that is used, to anyone
localbucket.S3Handler.disable_nagle_algorithm = True  # which makes every answer wait for 40 ms
localbucket.main()
"""
NANIO = "import nanio.cli; nanio.cli.main()"  # checks credentials, has no suffix ranges


@dataclass
class Server:
    folder: Path
    code: str
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        place = ["--host", "127.0.0.1", "--port", str(self.port)]
        where = [str(self.folder), *place]
        if self.code == NANIO:
            where = ["serve", "--data-dir", *where, "--log-level", "error", "--no-access-log"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.code, *where],
            env={**os.environ, "NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def _answers(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def bucket(self):
        """A new bucket: its URL and its folder. Stores are kept by name, so no name comes twice."""
        folder = self.folder / f"bucket-{next(_NUMBERS)}"
        folder.mkdir()
        return f"s3://{folder.name}", folder


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def serving(folder, code):
    folder.mkdir(exist_ok=True)
    server = Server(folder, code, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a server for one test, which becomes the endpoint."""
    with ExitStack() as stack:

        def starter(code=LOCALBUCKET):
            server = stack.enter_context(serving(tmp_path / "server", code))
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            return server

        yield starter


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What users set; the endpoint is each test's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    with (
        serving(folder / "localbucket", LOCALBUCKET) as plain,
        serving(folder / "nanio", NANIO) as strict,
    ):
        yield {"localbucket": plain, "nanio": strict}


@pytest.fixture(params=["localbucket", "nanio"])
def bucket(request, servers, monkeypatch):
    """A new bucket of each server."""
    server = servers[request.param]
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return server.bucket()


@pytest.fixture
def one_bucket(servers, monkeypatch):
    """A new bucket, where the server does not matter."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", servers["localbucket"].url)
    return servers["localbucket"].bucket()


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    """A stack in one file, with a slab of zeros, which is not stored."""
    path = tmp_path_factory.mktemp("scan") / "scan.tif"
    voxels = np.random.default_rng(0).integers(100, 60000, SHAPE).astype(np.uint16)
    voxels[64:128] = 0
    tifffile.imwrite(path, voxels, photometric="minisblack")
    return open_source(path, spacing=Spacing(2.0, 0.65, 0.65))
