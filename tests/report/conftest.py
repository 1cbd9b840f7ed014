"""A small scan with labels, tables and scores, made by the package itself."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from xctvol.journal import Recipe
from xctvol.labels import Labels, open_labels
from xctvol.materials import Materials
from xctvol.stages.measure import measure
from xctvol.tables import Tables
from xctvol.units import Spacing
from xctvol.volume import (
    Image,
    Volume,
    default_codec,
    halve_grey,
    halve_labels,
    image_label,
    list_label,
    open_volume,
)

MATERIALS = Materials.from_json(
    [
        {"name": "epidermis", "mask": 1, "color": "#1b5e20"},
        {"name": "mesophyll", "mask": 2, "color": "#8bc34a"},
        {"name": "air space", "mask": 3, "color": "#ffffff"},
        {"name": "vein <&$x$>", "mask": 4, "color": "#6d4c41"},
    ]
)
SPACING = Spacing(1.3, 0.65, 0.65)


@dataclass(frozen=True)
class Scan:
    volume: Volume
    labels: Labels
    grey: np.ndarray
    found: np.ndarray
    tables: Tables
    scores: Path


def leaf(shape):
    """Labels of a leaf: two skins, tissue with bubbles of air, a vein along y; and its grey."""
    z, y, x = np.indices(shape, sparse=True)
    depth = z / shape[0]
    bend = 0.08 * np.sin(3 * x / shape[2]) + 0.04 * np.cos(4 * y / shape[1])
    inside = (depth > 0.12 + bend) & (depth < 0.8 + bend)
    tissue = (depth > 0.2 + bend) & (depth < 0.72 + bend)
    labels = inside.astype(np.uint8) + tissue
    rng = np.random.default_rng(2022)
    for center in rng.uniform(0, 1, (60, 3)) * shape:
        radius = rng.uniform(0.02, 0.09) * min(shape)
        distance = sum(
            (axis - c) ** 2 * s**2
            for axis, c, s in zip((z, y, x), center, (1, 0.6, 0.6), strict=True)
        )
        labels[(distance < radius**2) & (labels == 2)] = 3
    vein = (z - shape[0] * 0.45) ** 2 + 0.5 * (x - shape[2] * 0.6) ** 2 < (0.11 * shape[0]) ** 2
    labels[np.broadcast_to(vein, shape)] = 4
    values = np.array([20, 150, 120, 35, 190])
    return labels, (values[labels] + rng.normal(0, 12, shape)).clip(0, 255).astype(np.uint8)


def write(path, array, halve, ome, own):
    image = Image(path, array.shape, array.dtype, default_codec(array.dtype))
    for z0 in range(0, array.shape[0], 64):
        image.write(z0, array[z0 : z0 + 64], halve)
    image.finish(SPACING, ome, own)


def make_scan(folder, shape):
    found, grey = leaf(shape)
    path = folder / "quercus.zarr"
    convert = Recipe("convert", {"files": [f"slice_{i:04d}.tif" for i in range(99)]}, {"codec": 1})
    write(
        path, grey, halve_grey, {},
        {"recipe": convert.to_json(), "window": [180, 40000], "source_dtype": "uint16"},
    )  # fmt: skip  # the two kinds of metadata stand below each other
    segment = Recipe("segment", {"model": "leaf.safetensors"}, {"precision": "auto"})
    write(
        path / "labels" / "tissue", found, halve_labels,
        {"image-label": image_label(MATERIALS, "../../")},
        {"recipe": segment.to_json(), "materials": MATERIALS.to_json()},
    )  # fmt: skip  # as above
    list_label(path, "tissue")
    labels = open_labels(path, "tissue")
    scores = folder / "scores"
    scores.mkdir()
    lines = ["model,kind,material,accuracy,precision,recall,f1"]
    for model, gain in (("a", 0.0), ("b", 0.02)):
        lines += [f"{model},model,{m.name},1,1,1,{0.9 + gain}" for m in MATERIALS[:3]]
    lines += [f"pixel forest,baseline,{m.name},1,1,1,0.2" for m in MATERIALS[:3]]
    (scores / "scores.csv").write_text("\n".join([*lines, "a,model,vein <&$x$>,1,,,"]))
    tables = measure(labels, folder / "measures").run()
    return Scan(open_volume(path), labels, grey, found, tables, scores)


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    return make_scan(tmp_path_factory.mktemp("scan"), (24, 60, 80))


@pytest.fixture
def unmeasured(scan):
    return replace(scan, tables=None, scores=None)
