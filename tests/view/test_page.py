"""The page in a real browser: only there neuroglancer reads shards and draws them."""

import asyncio
import base64
import io
import json
import re
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image as Picture
from tornado.websocket import websocket_connect

from xctvol.labels import open_labels
from xctvol.stages.view import view
from xctvol.volume import open_volume

pytestmark = pytest.mark.slow

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-background-networking", "--window-size=1300,900",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-port=0",
)  # fmt: skip  # the last but one draw without a graphics card


class Page:
    """A page of a browser, by its protocol for developers."""

    def __init__(self, connection):
        self._connection = connection
        self._asked = 0
        self.errors = []

    async def ask(self, method, **parameters):
        self._asked += 1
        question = {"id": self._asked, "method": method, "params": parameters}
        await self._connection.write_message(json.dumps(question))
        while True:
            answer = json.loads(await self._connection.read_message())
            if answer.get("id") == self._asked:
                return answer.get("result", {})  # nothing while a page is being replaced
            entry = answer.get("params", {}).get("entry", {})
            if entry.get("level") == "error" and "favicon" not in entry.get("url", ""):
                self.errors.append(entry)

    async def picture(self):
        shot = {}
        while "data" not in shot:
            await asyncio.sleep(0.5)
            shot = await self.ask("Page.captureScreenshot")
        return np.asarray(Picture.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))

    async def text(self):
        found = await self.ask("Runtime.evaluate", expression="document.body.innerText")
        return found["result"].get("value", "")


def tinted(picture, channel):
    """Where one colour is much stronger than both others, rows and columns."""
    wide = picture.astype(int)
    others = np.delete(wide, channel, 2).max(2)
    return np.argwhere(wide[..., channel] > others + 60)


async def look(debugger, address):
    """What the page shows once both colours are there, or after a minute."""
    with urllib.request.urlopen(f"http://{debugger}/json") as targets:
        (target,) = (t for t in json.load(targets) if t["type"] == "page")
    connection = await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 27)
    try:
        page = Page(connection)
        await page.ask("Log.enable")
        await page.ask("Page.navigate", url=address)
        return await drawn(page)
    finally:
        connection.close()
        await connection.read_message()  # until it is closed


async def drawn(page):
    end = time.monotonic() + 60
    while True:
        picture = (await page.picture())[50:400, :490]  # the plane xy, without bars and lists
        green, blue = tinted(picture, 1), tinted(picture, 2)
        if min(len(green), len(blue)) > 1000 or time.monotonic() > end:
            return green, blue, await page.text(), page.errors


def test_a_browser_draws_the_labels_over_the_scan(path, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium or Chrome to open the page with")
    viewing = view(open_volume(path), [open_labels(path)])
    command = [browser, *OPTIONS, f"--user-data-dir={tmp_path}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            said = (re.search(r"listening on ws://([^/]+)/", line) for line in running.stderr)
            debugger = next(filter(None, said))[1]
            green, blue, text, errors = asyncio.run(look(debugger, viewing.address))
        finally:
            running.terminate()
            viewing.close()
    assert errors == []
    assert len(green) > 1000
    assert len(blue) > 1000
    assert green[:, 0].mean() < blue[:, 0].mean() - 10  # tissue lies above the vein
    assert abs(green[:, 1].mean() - blue[:, 1].mean()) < 5
    assert {"tissue", "vein"} <= {*text.split()}
