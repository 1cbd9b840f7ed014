"""A volume of uint16 with labels, in several slabs and levels."""

from dataclasses import dataclass

import numpy as np
import pytest

from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.units import Spacing
from xctvol.volume import (
    Codec,
    Image,
    halve_grey,
    halve_labels,
    image_label,
    list_label,
    open_volume,
)

SHAPE = (150, 40, 1060)
SPACING = Spacing(1.3, 0.65, 0.7)
MATERIALS = Materials.from_json(
    [
        {"name": "tissue", "mask": 1, "label": 3, "color": "#8bc34a"},
        {"name": 'vein "\\', "mask": 2, "label": 7, "color": "#6d4c41"},
    ]
)


@dataclass(frozen=True)
class Scan:
    path: object
    grey: np.ndarray
    found: np.ndarray

    @property
    def volume(self):
        return open_volume(self.path)

    @property
    def labels(self):
        return open_labels(self.path, "tissue")


def write(path, voxels, halve, ome, own, spacing=SPACING):
    image = Image(path, voxels.shape, voxels.dtype, Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], voxels[block.write.slices], halve)
    image.finish(spacing, ome, own)


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "leaf.zarr"
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 60000, SHAPE, np.uint16)
    found = rng.choice(np.array([0, 3, 7], np.uint8), SHAPE)
    write(path, grey, halve_grey, {}, {})
    ome = {"image-label": image_label(MATERIALS, "../../")}
    own = {"materials": MATERIALS.to_json()}
    write(path / "labels" / "tissue", found, halve_labels, ome, own)
    list_label(path, "tissue")
    return Scan(path, grey, found)


@pytest.fixture(scope="session")
def materials():
    return MATERIALS


@pytest.fixture(scope="session")
def write_volume():
    return write
