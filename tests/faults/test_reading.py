"""What stands in the place of a file but is none, and files whose disk does not give them."""

import os
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from xctvol.annotations.cvat_masks import LabelMask
from xctvol.annotations.cvat_shapes import annotated_images
from xctvol.annotations.imagej import Rois, positions
from xctvol.errors import InputError
from xctvol.execution.slurm import Profile
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.pairs import open_pairs
from xctvol.sources import open_source
from xctvol.sources.raw import RawLayout
from xctvol.stages.convert import convert
from xctvol.stages.verify import verify
from xctvol.units import Spacing
from xctvol.volume import Window, open_volume

HERE = Path(__file__).parent
MATERIALS = Materials.from_json([{"name": "air", "mask": 0}, {"name": "leaf", "mask": 1}])
SPACING = Spacing(1, 1, 1)


def pipe(path):
    """Whoever opens it finds an empty file, so that a test cannot wait for ever."""
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: open(path, "wb").close(), daemon=True)
    writer.start()

    def end():
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer.join()
        os.close(reader)

    return end


def a_socket(path):
    with pytest.MonkeyPatch.context() as patch:  # a socket's path must be short
        patch.chdir(path.parent)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path.name)
    return listening.close


def folder(path):
    path.mkdir()
    return lambda: None


@pytest.fixture(params=[pipe, a_socket, folder])
def replace(request):
    """Puts something else in the place of a file."""
    ends = []

    def replace(path):
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        ends.append(request.param(path))

    yield replace
    for end in ends:
        end()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    (folder / "scan").mkdir()
    for kind in ("images", "masks"):
        (folder / "pairs" / kind).mkdir(parents=True)
    voxels = np.random.default_rng(0).integers(0, 2, (4, 6, 8), np.uint8)
    for z, plane in enumerate(voxels):
        for place in ("scan", "pairs/images", "pairs/masks"):
            tifffile.imwrite(folder / place / f"s_{z}.tif", plane)
    convert(open_source(folder / "scan", spacing=SPACING), folder / "a.zarr").run()
    card = Card("unet", MATERIALS, GreyScale("uint8", Window(0, 1), 0.5, 0.5))
    save_model(folder / "m.safetensors", card, build("unet", 2).body.state_dict())
    return folder


@pytest.fixture
def work(good, tmp_path):
    shutil.copytree(good, tmp_path / "work")
    return tmp_path / "work"


def read_voxels(path):
    return open_volume(path).read(Box((0, 0, 0), (4, 6, 8)))


LAYOUT = RawLayout((4, 6, 8), "uint8")
SIZE = (6, 8)
READERS = {
    "scan/s_2.tif": [
        lambda work: open_source(work / "scan"),
        lambda work: open_source(str(work / "scan/s_*.tif")),
        lambda work: open_source(sorted((work / "scan").iterdir())),
    ],
    "scan.raw": [
        lambda work: open_source([work / "scan.raw"]),
        lambda work: open_source(work / "scan.raw", raw=LAYOUT),
    ],
    "pairs/images/s_1.tif": [lambda work: open_pairs(work / "pairs", MATERIALS).check()],
    "pairs/masks/s_1.tif": [lambda work: open_pairs(work / "pairs", MATERIALS).check()],
    "s_1.roi": [lambda work: Rois(work / "s_1.roi").read(SIZE, MATERIALS)],
    "RoiSet.zip": [lambda work: positions(work / "RoiSet.zip")],
    "annotations.xml": [lambda work: annotated_images(work / "annotations.xml")],
    "labelmap.txt": [
        lambda work: LabelMask(work / "scan/s_1.tif", work / "labelmap.txt").read(SIZE, MATERIALS)
    ],
    "pairs/layers.toml": [lambda work: open_pairs(work / "pairs", MATERIALS)],
    "leaf.toml": [lambda work: Materials.read(work / "leaf.toml")],
    "site.toml": [lambda work: Profile.read(work / "site.toml")],
    "m.safetensors": [lambda work: open_model(work / "m.safetensors")],
    "a.zarr/zarr.json": [lambda work: open_volume(work / "a.zarr")],
    "a.zarr/0/zarr.json": [lambda work: open_volume(work / "a.zarr")],
    "a.zarr/labels/zarr.json": [lambda work: open_labels(work / "a.zarr")],
    "a.zarr/0/c/0/0/0": [
        lambda work: read_voxels(work / "a.zarr"),
        lambda work: verify(work / "a.zarr").run(),
    ],
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(work, replace, name):
    replace(work / name)
    for read in READERS[name]:
        with pytest.raises(InputError, match=f"{Path(name).name} is not a regular file but a "):
            read(work)


def test_a_link_to_nowhere_in_the_place_of_a_slice_is_no_shorter_scan(work):
    (work / "scan/s_3.tif").unlink()
    (work / "scan/s_3.tif").symlink_to("elsewhere")
    with pytest.raises(InputError, match=r"s_3\.tif does not exist"):
        open_source(work / "scan")


@pytest.mark.parametrize("name", ["scan/s_2.tif", "pairs/masks/s_1.tif", "m.safetensors"])
def test_what_cannot_be_read_is_named(work, name):
    """Linux opens this file for anybody, and fails to read its beginning."""
    (work / name).unlink()
    (work / name).symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match=f"{Path(name).name}.*Input/output error"):
        READERS[name][0](work)
