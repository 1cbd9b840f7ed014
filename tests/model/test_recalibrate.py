"""recalibrate: the statistics of the scan at hand, and how far that changes labels."""

import numpy as np
import pytest
import tifffile
import torch

from xctvol.errors import UsageError
from xctvol.grid import Box
from xctvol.model.agreement import Agreement, sample_slices
from xctvol.model.predict import Predictor
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.model import recalibrate
from xctvol.units import Spacing


@pytest.fixture
def volume(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 120, (9, 48, 56)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    scan = open_source(tmp_path / "a.tif", spacing=Spacing(1, 1, 1))
    return convert(scan, tmp_path / "a.zarr").run()


@torch.no_grad()
def plain_statistics(model, images):
    """By torch alone: training mode, momentum None, one slice after the other."""
    body = model.network().body.train()
    for layer in body.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    for image in images:
        seen = (torch.from_numpy(image.astype(np.float32)) / 255 - 0.5) / 0.25
        body(seen.expand(1, 3, -1, -1))
    return body.state_dict()


def test_statistics_are_those_of_the_slices(save, volume, tmp_path):
    model = save("lraspp_mobilenet_v3_large", norm="batch")
    plan = recalibrate(model, volume, tmp_path / "new.safetensors", slices=3, device="cpu")
    made = plan.run()
    voxels = volume.read(Box.whole(volume.shape))
    expected = plain_statistics(model, voxels[[1, 4, 7]])
    found = made.network().body.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name].float(), tensor.float(), rtol=1e-4, atol=1e-5), name
    assert made.card.norm == "running"
    record = made.card.recalibration
    assert (record.scan, record.slices) == ("a.zarr", 3)
    others = voxels[[0, 2, 3, 5, 6, 8]][list(sample_slices(6))]
    same = Predictor(made, "cpu").labels(others) == Predictor(model, "cpu").labels(others)
    assert record.agreement == same.mean()
    assert 0 < record.agreement < 1
    assert plan.run().digest == made.digest


def test_a_network_without_batch_norm_has_nothing_to_collect(save, volume, tmp_path):
    with pytest.raises(UsageError, match="unet has no batch normalization: nothing to recal"):
        recalibrate(save("unet"), volume, tmp_path / "new.safetensors")


def test_the_sample_is_spread_over_the_scan():
    assert sample_slices(1) == (0,)
    assert sample_slices(4) == (0, 1, 2, 3)
    for depth in (5, 6, 64, 2001):
        found = sample_slices(depth, 5)
        assert len({*found}) == 5
        assert list(found) == sorted(found)
        assert found[0] >= 0
        assert found[-1] < depth


def test_agreement_adds_up():
    one = Agreement.of(np.array([1, 2, 3]), np.array([1, 2, 4]))
    total = one + Agreement(997, 997)
    assert (one.share, one.enough) == (2 / 3, False)
    assert (total.equal, total.pixels, total.enough) == (999, 1000, True)
    assert Agreement.from_json(total.to_json()) == total
    assert str(total) == "99.900 %"
