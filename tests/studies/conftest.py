"""Pairs of three scans, and a held-out one, that a network learns in seconds."""

import numpy as np
import pytest
import tifffile

from xctvol.materials import Materials
from xctvol.pairs import open_pairs

TWO = Materials.from_json([{"name": "ground", "mask": 0}, {"name": "disk", "mask": 255}])


def write_pairs(folder, names, seed):
    rng = np.random.default_rng(seed)
    for name in names:
        y, x = np.indices((32, 32))
        disk = np.hypot(y - rng.uniform(10, 22), x - rng.uniform(10, 22)) < 8
        grey = 1000 + 500 * disk + rng.normal(0, 100, disk.shape)
        scan, _, stem = name.rpartition("/")
        for kind, pixels in (
            ("images", grey.astype(np.uint16)),
            ("masks", np.where(disk, 255, 0).astype(np.uint8)),
        ):
            (folder / scan / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / scan / kind / f"{stem}.tif", pixels)
    return open_pairs(folder, TWO)


@pytest.fixture
def leaves(tmp_path):
    names = [f"leaf-{scan}/s{z}" for scan in "abc" for z in (1, 2)]
    return write_pairs(tmp_path / "leaves", names, 0)


@pytest.fixture
def held_out(tmp_path):
    return write_pairs(tmp_path / "held-out", ["t1", "t2"], 1)
