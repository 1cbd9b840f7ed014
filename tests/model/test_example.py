"""The network in examples/ goes all the way through the public names: train, evaluate, segment."""

from pathlib import Path

import numpy as np
import tifffile

import xctvol as xv

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_a_network_of_ones_own_learns_and_segments(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    rng = np.random.default_rng(0)
    leaf = rng.random((6, 8, 8)).repeat(6, 1).repeat(6, 2) > 0.5
    voxels = (rng.normal(80, 10, leaf.shape) + 90 * leaf).astype(np.uint8)
    for z in range(2):
        for kind, image in (("images", voxels), ("masks", leaf.astype(np.uint8))):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "pairs" / kind / f"{z}.tif", image[z])
    tifffile.imwrite(tmp_path / "scan.tif", voxels, photometric="minisblack")
    spacing = xv.Spacing(1, 1, 1)
    volume = xv.convert(
        xv.open_source(tmp_path / "scan.tif", spacing=spacing), tmp_path / "scan.zarr"
    ).run()
    table = [{"name": "air", "mask": 0}, {"name": "leaf", "mask": 1}]
    pairs = xv.open_pairs(tmp_path / "pairs", xv.Materials.from_json(table))
    (model,) = xv.train(
        pairs, tmp_path / "own.safetensors", architecture="dilated_network:dilated",
        epochs=12, learning_rate=0.03, spacing=spacing, device="cpu",
    ).run()  # fmt: skip  # one call
    assert model.card.architecture == "dilated_network:dilated"
    assert model.card.spacing_um == (1.0, 1.0, 1.0)
    labels = xv.segment(volume, model, device="cpu").run()
    found = np.asarray(labels.volume.to_xarray())
    assert (found == leaf + 1).mean() > 0.95
