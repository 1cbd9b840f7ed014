"""Pairs that a network learns in seconds: bright disks on a dark ground."""

import numpy as np
import pytest
import tifffile

from xctvol.materials import Materials
from xctvol.pairs import open_pairs

TWO = Materials.from_json([{"name": "ground", "mask": 0}, {"name": "disk", "mask": 255}])


@pytest.fixture
def pairs(tmp_path):
    """Four 16-bit slices of different sizes."""
    rng = np.random.default_rng(0)
    for i, size in enumerate([(48, 40), (40, 56), (64, 64), (50, 33)]):
        y, x = np.indices(size)
        disk = np.hypot(y - rng.uniform(12, 30), x - rng.uniform(12, 24)) < 10
        grey = 1000 + 500 * disk + rng.normal(0, 100, size)
        for kind, pixels in (
            ("images", grey.astype(np.uint16)),
            ("masks", np.where(disk, 255, 0).astype(np.uint8)),
        ):
            folder = tmp_path / "pairs" / kind
            folder.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / f"s{i}.tif", pixels)
    return open_pairs(tmp_path / "pairs", TWO)
