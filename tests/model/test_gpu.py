"""What only a GPU can show: `pytest -m gpu`, on a machine that has one."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision import models

from xctvol.errors import PartialError
from xctvol.model import predict
from xctvol.model.card import IDENTITY
from xctvol.model.predict import Predictor
from xctvol.stages.segment.device import Device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]

GPU = "cuda"
LABELS = np.array([5, 200, 1], np.uint8)

LABEL_TWICE = """
import sys
import numpy as np
from xctvol.model import predict
from xctvol.model.file import open_model
from xctvol.stages.segment.device import Device

predict._BATCH_PIXELS = 64 * 64
model, device = open_model(sys.argv[1]), Device("cuda")
predictor = predict.Predictor(model, "cuda")
slab = device.memory("slab", (8, 64, 64), np.uint8)
labels = device.memory("labels", (8, 64, 64), np.uint8)
for _ in range(2):
    slab[...] = np.random.default_rng(0).integers(0, 256, slab.shape)
    predictor.labels_into(slab, predict.IDENTITY, labels)
"""


def scan(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_every_voxel_is_that_of_plain_torchvision(fcn_resnet50):
    slices = scan((3, 261, 245))
    plain = models.get_model("fcn_resnet50", weights=None, weights_backbone=None, num_classes=3)
    plain.load_state_dict(load_file(fcn_resnet50.path))
    plain.eval().to(GPU)
    grey = ((torch.tensor(slices.astype(np.float64)) / 255 - 0.5) / 0.25).float().to(GPU)
    flags = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with flags, torch.no_grad():
        logits = plain(grey[:, None].repeat(1, 3, 1, 1))["out"].cpu()
    first, second = logits.topk(2, 1).values.unbind(1)
    clear = (first - second > 1e-4 * float(abs(logits).max())).numpy()
    found = Predictor(fcn_resnet50, GPU, "fp32").labels(slices)
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(found[clear], LABELS[logits.argmax(1).numpy()][clear])


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_lower_precision_labels_nearly_alike(fcn_resnet50, precision):
    slices = scan((2, 256, 256))
    exact = Predictor(fcn_resnet50, GPU, "fp32").labels(slices)
    assert (Predictor(fcn_resnet50, GPU, precision).labels(slices) == exact).mean() > 0.9


def test_slices_and_labels_are_where_they_belong_however_many_are_under_way(save, monkeypatch):
    """Copies run beside the network; a missing wait would mix up slices of this and the last."""
    monkeypatch.setattr(predict, "_BATCH_PIXELS", 512 * 512)
    predictor, device = (
        Predictor([save(name="a"), save(name="b", seed=1)], GPU, "fp32"),
        Device(GPU),
    )
    slab, labels = (device.memory(name, (48, 512, 512), np.uint8) for name in ("slab", "labels"))
    for round_ in range(5):
        slab[...] = scan(slab.shape, round_)
        labels[...] = 255
        predictor.labels_into(slab, IDENTITY, labels)
        for place in range(0, len(slab), 7):
            alone = predictor.labels(slab[place : place + 1])
            np.testing.assert_array_equal(labels[place : place + 1], alone)


def test_the_sanitizer_of_torch_finds_no_missing_wait(save):
    env = {**os.environ, "TORCH_CUDA_SANITIZER": "1"}
    command = [sys.executable, "-c", LABEL_TWICE, str(save().path)]
    run = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "CSAN" not in run.stderr


def test_slices_that_do_not_fit_are_refused_with_what_would(fcn_resnet50):
    device, predictor = Device(GPU), Predictor(fcn_resnet50, GPU, "fp32")
    slices, out = scan((2, 2048, 2048)), np.empty((2, 2048, 2048), np.uint8)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(400e6 / total)
    try:
        with pytest.raises(PartialError, match=r"one slice of 2048 x 2048 needs .* pixels would"):
            list(device.label(predictor, slices, IDENTITY, out, 1 << 30))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert list(device.label(predictor, slices[:, :64], IDENTITY, out[:, :64].copy(), 1)) == [2]
