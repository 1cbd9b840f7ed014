"""A volume with labels of two materials, one above the other."""

import numpy as np
import pytest

from xctvol.materials import Materials
from xctvol.units import Spacing
from xctvol.volume import Codec, Image, halve_grey, halve_labels, image_label, list_label

MATERIALS = Materials.from_json(
    [
        {"name": "tissue", "mask": 1, "label": 3, "color": "#00ff00"},
        {"name": "vein", "mask": 2, "label": 7, "color": "#0000ff"},
    ]
)
SHAPE = (60, 80, 1040)


def write(path, voxels, halve, ome, own):
    image = Image(path, voxels.shape, voxels.dtype, Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], voxels[block.write.slices], halve)
    image.finish(Spacing(2, 1, 1), ome, own)


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    """Grey, with an upper half of tissue and a lower one of vein."""
    path = tmp_path_factory.mktemp("view") / "leaf.zarr"
    grey = np.random.default_rng(0).integers(1000, 1200, SHAPE, np.uint16)
    labels = np.full(SHAPE, 3, np.uint8)
    labels[:, 40:] = 7
    write(path, grey, halve_grey, {}, {})
    ome = {"image-label": image_label(MATERIALS, "../../")}
    write(path / "labels" / "tissue", labels, halve_labels, ome, {"materials": MATERIALS.to_json()})
    list_label(path, "tissue")
    return path
