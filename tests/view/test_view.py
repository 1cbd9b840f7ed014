"""The viewer: what it is told to show, what its server gives, and what a browser sees of it."""

import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.stages.view import view
from xctvol.stages.view.scene import material_names, scene
from xctvol.volume import list_label, open_volume


@pytest.fixture
def viewing(path):
    viewing = view(open_volume(path), [open_labels(path)])
    yield viewing
    viewing.close()


def get(address, **headers):
    """Status, headers and content."""
    place = urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(place.netloc, timeout=30)) as connection:
        connection.request(headers.pop("method", "GET"), place.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_the_scene_is_in_micrometres_and_in_the_colours_of_materials(path):
    shown = scene(open_volume(path), [open_labels(path)], "http://d/", "http://n/")
    assert shown["dimensions"] == {"x": [1e-6, "m"], "y": [1e-6, "m"], "z": [2e-6, "m"]}
    assert shown["position"] == [520, 40, 30]
    image, labels = shown["layers"]
    low, high = image["shaderControls"]["normalized"]["range"]
    assert 1000 <= low < 1100 < high <= 1200
    assert labels["segmentColors"] == {"3": "#00ff00", "7": "#0000ff"}
    assert material_names(open_labels(path))["inline"]["properties"][0]["values"] == [
        "tissue", "vein",
    ]  # fmt: skip  # as the materials are listed


def test_names_that_are_no_plain_words_are_found_under_their_address(path, tmp_path):
    copy, name = tmp_path / "leaf.zarr", "tissue 50 %#1"
    shutil.copytree(path, copy)
    (copy / "labels" / "tissue").rename(copy / "labels" / name)
    list_label(copy, name)
    viewing = view(open_volume(copy), [open_labels(copy, name)])
    try:
        shown = scene(open_volume(copy), [open_labels(copy, name)], viewing.server.data,
                      viewing.server.facts)  # fmt: skip
        labels, names = (source.partition("|")[0] for source in shown["layers"][1]["source"])
        assert get(f"{labels}zarr.json")[0] == 200
        assert get(f"{names}info")[0] == 200
    finally:
        viewing.close()


def test_a_volume_of_labels_is_shown_in_colours(path):
    labels = open_labels(path / "labels" / "tissue")
    (layer,) = scene(labels.volume, [labels], "http://d/", "http://n/")["layers"]
    assert layer["source"][0] == "http://d/|zarr3:"
    assert layer["segmentColors"] == {"3": "#00ff00", "7": "#0000ff"}
    unnamed = replace(labels, materials=Materials(()))
    (layer,) = scene(labels.volume, [unnamed], "http://d/", "http://n/")["layers"]
    assert layer["source"] == ["http://d/|zarr3:"]
    assert "segments" not in layer
    viewing = view(labels.volume, [labels])
    try:
        assert get(f"{viewing.server.data}zarr.json")[0] == 200
    finally:
        viewing.close()


def test_the_server_gives_files_and_parts_of_them(viewing, path):
    shard = next(file for file in path.rglob("c/*/*/*") if file.is_file())
    content, name = shard.read_bytes(), shard.relative_to(path)
    address = f"{viewing.server.data}{name}"
    n = len(content)
    assert get(address)[::2] == (200, content)
    for asked, start, stop in (
        ("bytes=5-99", 5, 100), ("bytes=7-", 7, n), ("bytes=-64", n - 64, n),
        (f"bytes=0-{n + 9}", 0, n), (f"bytes=-{n + 9}", 0, n),
    ):  # fmt: skip  # what is asked for, and what is given
        status, headers, part = get(address, Range=asked)
        assert (status, part) == (206, content[start:stop])
        assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{n}"
    assert get(address, Range=f"bytes={n}-")[0] == 416
    status, headers, nothing = get(address, method="HEAD")
    assert (status, headers["Content-Length"], nothing) == (200, str(n), b"")
    named = json.loads(get(f"{viewing.server.facts}tissue/info")[2])
    assert named["inline"]["ids"] == ["3", "7"]


def test_nothing_else_is_given(viewing, path, tmp_path):
    (path.parent / "secret").write_text("mine")
    data = viewing.server.data
    for name in (
        "../secret", "%2e%2e/secret", "labels/../../secret", "/etc/passwd", "0", "nowhere",
        "", ".xctvol/recipe.json", "0/c/9/9/9",
    ):  # fmt: skip  # words
        assert get(data + name)[0] == 404, name
    secret = data.rstrip("/").rpartition("/")[2]
    assert len(secret) > 20
    assert get(data.replace(secret, "guess") + "zarr.json")[0] == 404
    for name in ("other/info", "tissue/names", "info", ""):
        assert get(viewing.server.facts + name)[0] == 404
    assert urlsplit(data).hostname == "127.0.0.1"


def test_links_are_followed_only_within_the_volume(path, tmp_path):
    (tmp_path / "disk").mkdir()
    shutil.copytree(path, tmp_path / "disk" / "leaf.zarr")
    (tmp_path / "disk" / "secret").write_text("mine")
    link = tmp_path / "leaf.zarr"
    link.symlink_to(tmp_path / "disk" / "leaf.zarr")
    (link / "same").symlink_to("zarr.json")
    (link / "round").symlink_to("round")
    (link / "secret").symlink_to("/etc/passwd")
    (link / "up").symlink_to(tmp_path / "disk")
    viewing = view(open_volume(link))
    try:
        data = viewing.server.data
        for name in ("zarr.json", "same"):
            assert get(data + name)[::2] == (200, (link / "zarr.json").read_bytes()), name
        for name in ("secret", "up/secret", "up/leaf.zarr/../secret", "round", "round/zarr.json"):
            assert get(data + name)[0] == 404, name
    finally:
        viewing.close()


def test_names_and_ranges_that_none_can_have_are_answered(viewing, path, caplog):
    data = viewing.server.data
    for name in (
        "zarr.json%00", "%00", "zarr.json/foo", "0/c/0/0/0/0", "a" * 300, "0/" + "a" * 300,
        "a/" * 2500 + "a",
    ):  # fmt: skip  # words
        assert get(data + name)[0] == 404, name
    many, n = "9" * 5000, (path / "zarr.json").stat().st_size
    for asked, status, nbytes in (
        (f"bytes={many}-", 416, 0), (f"bytes=0-{many}", 206, n), (f"bytes=-{many}", 206, n),
        ("bytes=-0", 416, 0),
    ):  # fmt: skip  # what is asked for, and what is given
        found, headers, content = get(data + "zarr.json", Range=asked)
        assert (found, len(content), headers["Content-Length"]) == (status, nbytes, str(nbytes))
    assert not caplog.records  # nothing that nobody caught


def test_labels_of_another_volume_are_refused(path, tmp_path):
    shutil.copytree(path, tmp_path / "other.zarr")
    with pytest.raises(InputError, match="are not labels of"):
        view(open_volume(path), [open_labels(tmp_path / "other.zarr")])


def test_a_port_that_is_taken_is_refused(viewing, path):
    command = [sys.executable, "-m", "xctvol", "view", str(path), "--no-browser"]
    run = subprocess.run(
        [*command, "--port", str(viewing.server.port)], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert f"port {viewing.server.port} of this machine cannot be used" in line


def test_what_cannot_be_shown_is_refused(path):
    for words, code, said in (
        ([path, "--labels", "vein"], 3, "no labels called 'vein'"),
        ([path.parent / "none.zarr"], 3, "does not exist"),
    ):
        run = CliRunner().invoke(app, ["view", *map(str, words), "--no-browser"])
        assert run.exit_code == code
        assert said in run.stderr
        assert run.stderr.count("\n") == 1


def test_the_command_serves_until_it_is_interrupted(path):
    command = [sys.executable, "-m", "xctvol", "view", str(path), "--no-browser", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        said = "".join(iter(run.stdout.readline, "}\n")) + "}"
        address = json.loads(said)["view"]
        assert get(address)[0] == 200
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 0
        assert "Traceback" not in run.stderr.read()


def test_an_installation_without_the_viewer_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    run = CliRunner().invoke(app, ["view", str(path), "--no-browser"])
    assert run.exit_code == 3
    assert "not installed: pip install 'xctvol[view]'" in run.stderr
