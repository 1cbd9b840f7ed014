"""Networks: the names, and calls that equal torchvision's own."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

from xctvol.errors import UsageError
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.decode import enlarged
from xctvol.model.memory import details_bytes, ensemble_bytes, prediction_bytes, training_bytes
from xctvol.model.networks import (
    build,
    first_mismatch,
    fold_batch_norm,
    known_architectures,
    take_one_channel,
)
from xctvol.model.norms import recalibrate, use_batch_statistics
from xctvol.stages.train.losses import dice
from xctvol.volume.window import Window

FACTORY = """
import torch
class Two(torch.nn.Module):
    def __init__(self, materials):
        super().__init__()
        self.one = torch.nn.Conv2d(1, 4, 1, bias=False)
        self.two = torch.nn.Conv2d(4, materials, 1, bias=False)
    def forward(self, x):
        return {"out": self.two(self.one(x))}
class Fixed(torch.nn.Module):
    def __init__(self, materials):
        super().__init__()
        self.one = torch.nn.Conv2d(1, materials, 1, bias=False)
    def forward(self, x):
        torch.empty(1000, 1000)
        return self.one(x)
def no_module(materials):
    return materials
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "made_for_test.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    return "made_for_test:Two"


def randomized(body):
    torch.manual_seed(1)
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
    return body.eval()


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
)
@torch.no_grad()
def test_torchvision_networks_are_called_as_torchvision_does(name):
    network = build(name, 3)
    body = randomized(network.body)
    plain = models.get_model(name, weights=None, weights_backbone=None, num_classes=3).eval()
    plain.load_state_dict(body.state_dict())
    x = torch.randn(1, 1, 65, 48)
    expected = plain(x.repeat(1, 3, 1, 1))["out"]
    assert torch.equal(network.logits(x), expected)
    assert torch.equal(enlarged(network.coarse_logits(x), (65, 48)), expected)
    single = take_one_channel(network)
    assert torch.allclose(single.logits(x), expected, rtol=1e-5, atol=1e-5 * expected.std())
    fold_batch_norm(body)
    assert not [layer for layer in body.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert torch.allclose(single.logits(x), expected, rtol=1e-4, atol=1e-4 * expected.std())


@torch.no_grad()
def test_one_channel_is_three_equal_ones_at_the_border_too():
    """The margin of a convolution is zeros in all channels alike; nothing of it may go missing."""
    network = build("fcn_resnet50", 2)
    x = torch.randn(1, 1, 32, 32) + 5
    expected = network.body.backbone.conv1(x.repeat(1, 3, 1, 1))
    stem = take_one_channel(network).body.backbone.conv1
    assert stem.weight.shape[1] == 1
    assert torch.allclose(stem(x), expected, atol=1e-5)
    assert torch.allclose(stem(x)[..., 0], expected[..., 0], atol=1e-5)


@torch.no_grad()
def test_the_unet_takes_any_size():
    body = build("unet", 4).body
    for size in ((64, 64), (33, 47), (1, 1), (7, 100)):
        assert body(torch.randn(2, 1, *size)).shape == (2, 4, *size)


@torch.no_grad()
def test_the_unet_begins_with_signals_that_neither_die_nor_burst():
    """Without normalization its first weights alone see to that."""
    torch.manual_seed(0)
    body = build("unet", 4).body
    x, sizes = torch.randn(1, 1, 64, 64), []
    for level, convolutions in enumerate(body.down):
        x = convolutions(functional.max_pool2d(x, 2) if level else x)
        sizes.append(float(x.square().mean().sqrt()))
    assert min(sizes) > 0.3
    assert max(sizes) < 6


def test_a_factory_is_called_by_name(factory):
    network = build(factory, 5)
    assert network.logits(torch.zeros(1, 1, 3, 3)).shape == (1, 5, 3, 3)
    assert network.coarse is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fcn_resnet102", "known are unet, .*fcn_resnet101"),
        ("no_such_package:Net", "No module named"),
        ("made_for_test:Missing", "has no attribute"),
        ("made_for_test:no_module", "returned int"),
        ("os:_exit", "nothing of Python's own modules is called"),
        ("shutil:rmtree", "nothing of Python's own modules is called"),
        ("pip.__main__:main", "nothing of Python's own modules is called"),
        ("..model:Net", "cannot make the network"),
    ],
)
def test_unknown_networks_are_refused(factory, name, message):
    with pytest.raises(UsageError, match=message):
        build(name, 2)


def test_the_paper_network_is_known():
    assert "fcn_resnet101" in known_architectures()


def test_mismatches_are_named():
    body = build("unet", 3).body
    shapes = {name: tuple(t.shape) for name, t in body.state_dict().items()}
    assert first_mismatch(body, shapes) is None
    assert "out.weight has shape" in str(first_mismatch(body, {**shapes, "out.weight": (4, 16)}))
    assert "zzz is not part" in str(first_mismatch(body, {**shapes, "zzz": (1,)}))
    shapes.pop("out.bias")
    assert first_mismatch(body, shapes) == "out.bias is missing"


@torch.no_grad()
def test_batch_statistics_equal_training_mode_without_dropout():
    network = build("fcn_resnet50", 2)
    body = network.body
    x = torch.randn(1, 1, 40, 56)
    for layer in body.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    expected = body.train()(x.repeat(1, 3, 1, 1))
    body.eval()
    use_batch_statistics(body)
    assert torch.allclose(network.logits(x), expected, atol=1e-5)


@torch.no_grad()
def test_recalibration_takes_the_mean_over_all_batches():
    network = build("lraspp_mobilenet_v3_large", 2)
    first = network.body.backbone["0"]
    batches = [torch.randn(3, 1, 32, 32) + shift for shift in (0.0, 2.0, 7.0)]
    recalibrate(network, batches)
    outputs = [first[0](batch.expand(-1, 3, -1, -1)) for batch in batches]
    mean = torch.stack([o.mean((0, 2, 3)) for o in outputs]).mean(0)
    variance = torch.stack([o.var((0, 2, 3)) for o in outputs]).mean(0)
    assert torch.allclose(first[1].running_mean, mean, atol=1e-5)
    assert torch.allclose(first[1].running_var, variance, rtol=1e-4)
    assert first[1].momentum == 0.01
    assert not network.body.training


def test_memory_is_counted_without_taking_any(factory):
    pixels = 96 * 128  # what networks that halve slices see as it is
    weights = 4 * (4 + 4 * 5)
    # a slice, 4 channels, 5 logits; 8 bytes a pixel serve decoding
    values = 4 * pixels * (1 + 4 + 5) + 8 * pixels
    assert prediction_bytes(factory, 5, (96, 128)) == weights + values
    assert prediction_bytes(factory, 5, (95, 97)) == weights + values - 8 * (pixels - 95 * 97)
    assert training_bytes(factory, 5, (1, 96, 128), dice) > 4 * weights + 4 * pixels * (4 + 5)


def test_memory_that_does_not_grow_with_the_slice_is_counted_once(factory):
    """A large one for an instant, beside what is small for few pixels and large for many."""
    held = [prediction_bytes("made_for_test:Fixed", 2, (side, side)) for side in (32, 2048)]
    weights, fixed = 2 * 4, 4 * 1000 * 1000
    assert held[0] == weights + fixed + (4 + 8) * 32 * 32
    assert held[1] == weights + (4 + 4 * 2 + 8) * 2048 * 2048


def test_starts_import_no_compiler():
    """It takes several times as long as everything else before the first slice."""
    plan = "prediction_bytes(name, 3, (96, 96))\n    training_bytes(name, 3, (2, 96, 96), dice)"
    script = f"""
import sys
import torch
from xctvol.model.memory import prediction_bytes, training_bytes
from xctvol.model.networks import build
from xctvol.model.fastest import fastest
from xctvol.stages.segment import segment
from xctvol.stages.train import train
from xctvol.stages.train.losses import dice
for name in ("unet", "fcn_resnet50"):
    {plan}
    fastest(build(name, 3), torch.device("cpu"), "fp32")
print(*({{"torch._dynamo", "sympy"}} & {{*sys.modules}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_models_that_decide_together_compute_one_after_the_other(factory):
    five = Materials.numbered((1, 2, 3, 4, 5))
    card = Card(factory, five, GreyScale("uint8", Window(0, 255), 0.5, 0.2))
    size, weights = (100, 80), 4 * (4 + 4 * 5)
    alone = ensemble_bytes([card], size)
    assert alone == prediction_bytes(factory, 5, size)
    logits = 4 * 5 * 100 * 80
    assert ensemble_bytes([card] * 3, size) == alone + 2 * weights + 3 * logits + 8 * 100 * 80
    smaller = ensemble_bytes([replace(card, scale=0.5)], size)
    assert smaller < alone
    assert details_bytes(5, size) == 13 * 5 * 100 * 80


def test_networks_that_cannot_learn_from_one_slice_are_refused():
    with pytest.raises(UsageError, match="cannot learn from batches of 1 x 64 x 64"):
        training_bytes("deeplabv3_mobilenet_v3_large", 2, (1, 64, 64), dice)
