"""The viewer's server on this machine: neuroglancer's own, which gives the files of a volume too.

Neuroglancer asks for parts of files. Addresses hold a secret, so that other people of this machine
cannot look; it listens on loopback only.
"""

import asyncio
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import tornado.web

from xctvol.errors import InputError, UsageError
from xctvol.locations import Location, S3Path
from xctvol.volume import open_parts

__all__ = ["Server"]

_LOOPBACK = "127.0.0.1"
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_MANY = 19  # digits: no file has so many bytes
_NAME = re.compile(r"[^./][^/]*(/[^./][^/]*)*")  # nothing hidden, nothing above


class Server:
    """Serves the files below `folder`, and `facts`, JSON by name, until `close`.

    `port` 0 is any that is free. Raises UsageError for one that is taken, InputError where
    neuroglancer is not installed.
    """

    def __init__(self, folder: Location, facts: Mapping[str, Any], port: int = 0) -> None:
        self._neuroglancer = _neuroglancer()
        secret = secrets.token_urlsafe(16)
        self._neuroglancer.set_server_bind_address(_LOOPBACK, port)
        try:
            self._viewer = self._neuroglancer.Viewer(allow_credentials=False)
        except OSError as error:
            raise UsageError(
                f"port {port} of this machine cannot be used ({error.strerror}); give another one, "
                "or none for any that is free"
            ) from error
        server = self._neuroglancer.server.global_server
        handlers = [
            (f"/data/{secret}/(.*)", _Files, {"folder": folder}),
            (f"/facts/{secret}/(.*)", _Facts, {"facts": facts}),
        ]
        # not part of its documented interface; a test of the page holds it
        server.app.add_handlers(".*", handlers)
        self.data = f"{server.server_url}/data/{secret}/"
        self.facts = f"{server.server_url}/facts/{secret}/"
        self.port = server.port

    @property
    def address(self) -> str:
        return str(self._viewer.get_viewer_url())

    def show(self, scene: Mapping[str, Any]) -> None:
        """Show a state of the viewer, in pages that are open, too."""
        self._viewer.set_state(dict(scene))

    def close(self) -> None:
        self._neuroglancer.stop()


class _Files(tornado.web.RequestHandler):
    """Files below a folder, whole or a range of their bytes."""

    def initialize(self, folder: Location) -> None:
        self._folder = folder

    async def head(self, name: str) -> None:
        await self.get(name)

    async def get(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise tornado.web.HTTPError(404)
        asked, wanted = self.request.headers.get("Range", ""), self.request.method != "HEAD"
        loop = asyncio.get_running_loop()
        part = await loop.run_in_executor(None, _read, self._folder, name, asked, wanted)
        if part is None:
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Accept-Ranges", "bytes")
        if _RANGE.fullmatch(asked):
            there = part.start < part.stop
            self.set_status(206 if there else 416)
            said = f"{part.start}-{part.stop - 1}" if there else "*"
            self.set_header("Content-Range", f"bytes {said}/{part.nbytes}")
        self.set_header("Content-Length", max(0, part.stop - part.start))
        self.finish(part.content)


@dataclass(frozen=True)
class _Part:
    """Bytes `start` to `stop` of a file of `nbytes`; no content where only these are wanted."""

    start: int
    stop: int
    nbytes: int
    content: bytes


def _read(folder: Location, name: str, asked: str, wanted: bool) -> _Part | None:
    """What a request with the header `Range: asked` gets; None where there is no such file."""
    try:
        parts = open_parts(_below(folder, name), whole=False)
    except (OSError, ValueError, InputError):  # a name, too, that no file can have
        return None
    try:
        start, stop = _range(asked, parts.nbytes)
        place = (start, stop - start)
        content = bytes(parts.reader([place])(place)) if wanted and start < stop else b""
        return _Part(start, stop, parts.nbytes, content)
    except OSError:  # a folder
        return None
    finally:
        parts.close()


def _below(folder: Location, name: str) -> Location:
    """The place of a file; raises FileNotFoundError where a link leads out of the folder to it."""
    if isinstance(folder, S3Path):
        return folder / name
    path = Path(os.path.realpath(folder / name))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise FileNotFoundError(name)
    return path


def _range(asked: str, nbytes: int) -> tuple[int, int]:
    """The bytes that are asked for: all, from one to another, or so many at the end."""
    match = _RANGE.fullmatch(asked)
    if match is None or not any(match.groups()):
        return 0, nbytes
    first, last = (_place(digits, nbytes) for digits in match.groups())
    if first is None:
        return nbytes - (last or 0), nbytes
    return first, nbytes if last is None else min(last + 1, nbytes)


def _place(digits: str, nbytes: int) -> int | None:
    """A number of bytes as it is asked for; beyond the end, the end."""
    if not digits:
        return None
    return min(int(digits), nbytes) if len(digits) < _MANY else nbytes


class _Facts(tornado.web.RequestHandler):
    """JSON by name, each in a folder of its own as a file `info`."""

    def initialize(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def get(self, name: str) -> None:
        folder, _, file = name.rpartition("/")
        if file != "info" or folder not in self._facts:
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(self._facts[folder]))


def _neuroglancer() -> ModuleType:
    """The library with the viewer, which not every installation has."""
    try:
        import neuroglancer
        import neuroglancer.server
    except ModuleNotFoundError as error:
        if error.name != "neuroglancer":
            raise
        raise InputError(
            "what shows volumes in the browser is neuroglancer, which is not installed: "
            "pip install 'xctvol[view]'"
        ) from None
    return neuroglancer
