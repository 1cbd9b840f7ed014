"""segment: labels equal to the plain network on every voxel, however the slabs are scheduled."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
import yaozarrs
import zarr
from ome_zarr_models import open_ome_zarr

from xctvol import stopping
from xctvol.errors import InputError, PlanError, StoppedError
from xctvol.execution import Dask
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.info import describe
from xctvol.stages.segment import segment
from xctvol.units import Spacing
from xctvol.volume import Window, open_volume

SPACING = Spacing(1.0, 1.0, 1.0)
MATERIALS = Materials.from_json(
    [{"name": "air", "mask": 0, "label": 3}, {"name": "leaf", "mask": 1, "label": 7}]
)


def volume_of(voxels, tmp_path, window=None):
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    scan = open_source(tmp_path / "a.tif", spacing=SPACING)
    return convert(scan, tmp_path / "a.zarr", window=window).run()


def model_of(tmp_path, architecture="unet", grey=None, materials=MATERIALS):
    torch.manual_seed(0)
    network = build(architecture, len(materials))
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    balance(network)
    grey = grey or GreyScale("uint8", Window(0, 255), 0.4, 0.2)
    card = Card(architecture, materials, grey)
    save_model(tmp_path / "m.safetensors", card, network.body.state_dict())
    return open_model(tmp_path / "m.safetensors")


def balance(network):
    """Shift the last bias so that noise gets every material somewhere."""
    network.body.eval()
    last = [m for m in network.body.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    with torch.inference_mode():
        x = torch.randn(1, 1, 64, 64)
        logits = network.coarse_logits(x)
    with torch.no_grad():
        last.bias -= logits.mean(dim=(0, 2, 3)).clone()


def plain(model, voxels):
    """The network as torch users call it, slice by slice, then argmax."""
    body = model.network().body.eval()
    grey = model.card.grey
    width = grey.window.high - grey.window.low
    found = []
    with torch.inference_mode():
        for image in voxels:
            x = torch.from_numpy(image.astype(np.float64) - grey.window.low) / width
            x = ((x.clamp(0, 1) - grey.mean) / grey.std).float()[None, None]
            if model.card.architecture != "unet":
                x = x.expand(-1, 3, -1, -1)
            logits = body(x)
            logits = logits["out"] if isinstance(logits, dict) else logits
            found.append(logits[0].numpy())
    return np.stack(found)


def assert_same_labels(labels, logits, materials=MATERIALS):
    """Equal on every voxel whose two largest logits differ by more than rounding."""
    expected = np.array(materials.labels, np.uint8)[logits.argmax(axis=1)]
    top = np.sort(logits, axis=1)
    tie = top[:, -1] - top[:, -2] < 1e-5
    assert tie.mean() < 0.01
    np.testing.assert_array_equal(labels[~tie], expected[~tie])
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("architecture", ["unet", "lraspp_mobilenet_v3_large"])
def test_labels_are_the_argmax_of_the_plain_network(tmp_path, architecture):
    voxels = np.random.default_rng(0).integers(0, 255, (5, 67, 93)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path, architecture)
    labels = segment(volume, model, device="cpu").run()
    found = labels.volume.read(Box.whole(labels.volume.shape))
    assert_same_labels(found, plain(model, voxels))


def test_a_windowed_volume_is_seen_in_its_original_grey_values(tmp_path):
    voxels = np.random.default_rng(0).integers(1000, 41000, (4, 40, 50)).astype(np.uint16)
    window = Window(1000, 1000 + 255 * 150)
    volume = volume_of(voxels, tmp_path, window)
    model = model_of(tmp_path, grey=GreyScale("uint16", Window(2000, 39000), 0.4, 0.2))
    stored = volume.read(Box.whole(volume.shape))
    found = segment(volume, model, device="cpu").run().volume.read(Box.whole(volume.shape))
    assert_same_labels(found, plain(model, stored * 150.0 + 1000))


def test_grey_values_that_cannot_be_compared_are_refused(tmp_path):
    volume = volume_of(np.ones((2, 40, 50), np.uint16), tmp_path)
    model = model_of(tmp_path, grey=GreyScale("float32", Window(0, 1), 0.4, 0.2))
    with pytest.raises(InputError, match="trained on slices of float32"):
        segment(volume, model)


def test_labels_are_valid_named_and_coloured(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (2, 16, 1100)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path)
    segment(volume, model, labels="tissue", device="cpu").run()
    labels = open_labels(tmp_path / "a.zarr")
    assert (labels.name, labels.materials) == ("tissue", MATERIALS)
    assert len(labels.volume.levels) == len(volume.levels) == 2
    counts = labels.volume.own["voxels"]
    assert sum(counts.values()) == voxels.size
    yaozarrs.validate_zarr_store(str(tmp_path / "a.zarr"))
    open_ome_zarr(zarr.open_group(tmp_path / "a.zarr/labels/tissue", mode="r"))


def with_slots(plan, slots):
    """The plan with so many blocks under way in a worker, as on a GPU."""
    return replace(plan, stages=tuple(replace(stage, slots=slots) for stage in plan.stages))


@pytest.mark.parametrize("executor", [Dask(2), None], ids=["dask and serial", "serial"])
@pytest.mark.slow
def test_shares_of_every_executor_make_the_same_bytes(tmp_path, executor):
    voxels = np.random.default_rng(0).integers(0, 255, (200, 33, 40)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path)
    serial = segment(volume, model, labels="serial", device="cpu").run()
    plan = segment(volume, model, labels="other", device="cpu")
    assert len(plan.stages[0].blocks) == 4
    if executor is None:
        parts = [plan.part(n, 3).run() for n in (3, 1, 2)]
        assert parts[:2] == [None, None]
        other = parts[2]
    else:
        assert plan.part(2, 2).run() is None
        other = with_slots(plan, 2).part(1, 2).run(executor)
    for shard in sorted((serial.volume.path / "0").rglob("*")):
        twin = other.volume.path / shard.relative_to(serial.volume.path)
        assert twin.is_dir() == shard.is_dir()
        assert shard.is_dir() or twin.read_bytes() == shard.read_bytes()


def test_an_interrupted_segmentation_continues(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (130, 33, 40)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path)
    plan = segment(volume, model, device="cpu")
    plan.part(2, 3).run()
    with pytest.raises(InputError, match="segment it first"):
        open_labels(tmp_path / "a.zarr")
    assert "3 blocks, 1 done" in str(plan)
    labels = plan.run()
    assert_same_labels(labels.volume.read(Box.whole(voxels.shape)), plain(model, voxels))
    assert not (labels.volume.path / ".xctvol").exists()


def test_labels_of_what_was_there_before_are_not_those_of_the_scan(tmp_path):
    """As when a wrong voxel size is corrected: volumes would be of the wrong size."""
    voxels = np.random.default_rng(0).integers(0, 255, (2, 40, 50)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path)
    segment(volume, model, device="cpu").run()
    open_labels(volume.path)
    scan = open_source(tmp_path / "a.tif", spacing=Spacing(5.0, 5.0, 5.0))
    convert(scan, volume.path).overwrite().run()
    with pytest.raises(InputError, match="was made of another scan than"):
        open_labels(volume.path)
    assert "made of another scan" in describe(volume.path)["labels/tissue"]
    segment(open_volume(volume.path), model, device="cpu").overwrite().run()
    assert open_labels(volume.path).volume.spacing.x == 5.0


def test_existing_labels_of_another_model_are_kept(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (2, 33, 40)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path)
    segment(volume, model, device="cpu").run()
    other = model_of(tmp_path, grey=GreyScale("uint8", Window(0, 200), 0.5, 0.2))
    with pytest.raises(PlanError, match="other model"):
        segment(open_volume(tmp_path / "a.zarr"), other, device="cpu").run()


class Interrupted(torch.nn.Module):
    """A network during which Ctrl-C is pressed twice, when it sees slices of the scan."""

    def __init__(self, materials):
        super().__init__()
        self.last = torch.nn.Conv2d(1, materials, 1)

    def forward(self, slices):
        if slices.shape[-2:] == (40, 50):
            for heard in (stopping.requested, stopping.overdue):  # two at once may count as one
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):
                    if not heard():
                        time.sleep(0.001)
        return self.last(slices)


def test_a_slab_that_is_dropped_is_no_fault_of_its_slices(tmp_path):
    volume = volume_of(np.ones((1, 40, 50), np.uint8), tmp_path)
    model = model_of(tmp_path, f"{__name__}:Interrupted")
    with stopping.stopping_on_signals(), pytest.raises(StoppedError) as caught:
        segment(volume, model, device="cpu").run()
    assert caught.value.exit_code == 130
    assert str(caught.value).startswith("stopped by SIGINT; what is finished is kept")
    with stopping.stopping_on_signals():
        pass  # forgets it, for the other tests of this process


def test_a_model_that_changes_under_a_plan_is_refused(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (2, 33, 40)).astype(np.uint8)
    volume, model = volume_of(voxels, tmp_path), model_of(tmp_path)
    plan = segment(volume, model, device="cpu")
    model_of(tmp_path, grey=GreyScale("uint8", Window(0, 200), 0.5, 0.2))
    with pytest.raises(InputError, match="has changed since the plan"):
        plan.run()
