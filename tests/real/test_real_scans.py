"""The workflow on real scans, each command as it is typed."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from skimage.measure import label, perimeter
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.tables import open_tables

UNET = ("--architecture", "unet")
SERIAL = ("--cluster", "serial")


def xctvol(*arguments):
    """Run a command that must succeed; returns the facts it prints."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json", "--quiet"])
    assert result.exit_code == 0, (arguments, result.stderr, result.exception)
    return json.loads(result.stdout)


def labels_of(path):
    labels = open_labels(path)
    return labels.volume.read(Box.whole(labels.volume.shape)), labels.materials


def check_slices(folder, found, materials, spacing):
    slices = open_tables(folder).slices.set_index(["z", "material"])
    for z in range(0, len(found), max(1, len(found) // 4)):
        for material in materials:
            plane = found[z] == material.label
            row = slices.loc[(z, material.name)]
            assert row.area_um2 == pytest.approx(plane.sum() * spacing**2, rel=1e-12)
            assert row.perimeter_um == pytest.approx(perimeter(plane) * spacing, rel=1e-9)


def test_citrus_glands_equal_what_their_authors_published(real_data, tmp_path):
    glands = real_data("measure_citrus_glands")
    volume = next(glands.glob("*_glands.tif"))
    with contextlib.chdir(tmp_path):
        options = ("--labels", "--binarize", "--spacing", "57.5um", *SERIAL)
        xctvol("convert", volume, "glands.zarr", *options)
        xctvol("measure", "glands.zarr", "--connectivity", 6, *SERIAL)
    tables = open_tables(tmp_path / "glands-measures")
    (row,) = tables.materials.itertuples()
    assert (row.regions, row.voxels) == (5018, 290_577)
    assert row.volume_um3 == pytest.approx(290_577 * 57.5**3)
    published = pd.read_csv(next(glands.glob("*_L03_glands.csv")), header=None).to_numpy()
    published = published[:, -3:] if published.shape[1] > 3 else published
    found = tables.regions[["centroid_z", "centroid_y", "centroid_x"]].to_numpy()
    np.testing.assert_allclose(found, published, atol=1e-9, rtol=0)


@pytest.mark.slow
def test_sandstone(real_data, tmp_path):
    """Train on four annotated slices, score on the fifth, segment and measure all five."""
    colors = {"pore": [0, 0, 255], "quartz": [255, 0, 0], "clay": [0, 255, 0]}
    colors["pyrite"] = [255, 255, 0]
    table = "".join(f'[[material]]\nname = "{n}"\nmask = {c}\n' for n, c in colors.items())
    with contextlib.chdir(tmp_path):
        Path("sandstone.toml").write_text(table)
        for kind in ("images", "masks"):
            for number, file in enumerate(sorted(real_data("sandstone", kind).glob("*.tif"))):
                folder = Path("held-out" if number == 4 else "annotated", kind)
                folder.mkdir(parents=True, exist_ok=True)
                part = slice(None) if number == 4 else slice(512)  # a quarter is enough to learn
                tifffile.imwrite(folder / file.name, tifffile.imread(file)[part, part])
        model = ("--materials", "sandstone.toml", "--output", "m.safetensors")
        xctvol("train", "annotated", *model, *UNET, "--epochs", 16)
        scores = xctvol("evaluate", "m.safetensors", "held-out", "--output", "scores")
        macro = float(scores["macro-F1"][0].rpartition(" ")[2])
        assert macro > 0.6
        images = real_data("sandstone", "images")
        xctvol("convert", images, "s.zarr", "--spacing", "111.575,2.2315,2.2315um", *SERIAL)
        xctvol("segment", "s.zarr", "m.safetensors", *SERIAL)
        xctvol("measure", "s.zarr", *SERIAL)
        found, materials = labels_of("s.zarr")
        truth = np.asarray(Image.open(sorted(real_data("sandstone", "masks").glob("*.tif"))[4]))
        pore = (truth == colors["pore"]).all(axis=-1)
        overlap = 2 * np.count_nonzero(pore & (found[4] == 1))
        assert overlap / (np.count_nonzero(pore) + np.count_nonzero(found[4] == 1)) > 0.9
        check_slices("s-measures", found, materials, 2.2315)
        xctvol("report", "s.zarr", "s.html", "--scores", "scores")
        assert Path("s.html").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["volume_bone_slices", "volume_sand"])
def test_volumes_segmented_by_a_model_trained_on_thresholded_slices(real_data, tmp_path, scan):
    source, spacing = real_data(scan), 19.5
    if scan == "volume_sand":
        source = next(source.glob("*.raw"))
        voxels = np.fromfile(source, np.uint8).reshape(100, 200, 200)
    else:
        voxels = np.stack([tifffile.imread(f) for f in sorted(source.glob("*.tif"))])
    threshold = 110 if scan == "volume_sand" else 90
    table = '[[material]]\nname = "pore"\nmask = 0\n[[material]]\nname = "solid"\nmask = 255\n'
    with contextlib.chdir(tmp_path):
        Path("m.toml").write_text(table)
        for z in range(5, 60, 9):
            for kind in ("images", "masks"):
                Path("pairs", kind).mkdir(parents=True, exist_ok=True)
            mask = np.where(voxels[z] > threshold, 255, 0).astype(np.uint8)
            tifffile.imwrite(f"pairs/images/{z}.tif", voxels[z])
            tifffile.imwrite(f"pairs/masks/{z}.tif", mask)
        model = ("--materials", "m.toml", "--output", "m.safetensors")
        xctvol("train", "pairs", *model, *UNET, "--epochs", 24)
        xctvol("convert", source, "v.zarr", "--spacing", f"{spacing}um")
        xctvol("segment", "v.zarr", "m.safetensors")
        xctvol("measure", "v.zarr")
        found, materials = labels_of("v.zarr")
        assert ((found == 2) == (voxels > threshold)).mean() > 0.95
        check_slices("v-measures", found, materials, spacing)
    tables = open_tables(tmp_path / "v-measures")
    counts = np.bincount(found.ravel(), minlength=3)
    assert tables.materials["voxels"].tolist() == counts[1:].tolist()
    regions = label(found, background=0, connectivity=3)
    assert len(tables.regions) == regions.max()
