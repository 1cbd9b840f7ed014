"""Networks: the names, and calls that equal torchvision's own."""

import pytest
import torch
from torch import nn
from torchvision import models

from xctvol.errors import UsageError
from xctvol.model.decode import enlarged
from xctvol.model.memory import prediction_bytes, training_bytes
from xctvol.model.networks import build, first_mismatch, fold_batch_norm, known_architectures
from xctvol.model.norms import recalibrate, use_batch_statistics

FACTORY = """
import torch
class Two(torch.nn.Module):
    def __init__(self, materials):
        super().__init__()
        self.one = torch.nn.Conv2d(1, 4, 1, bias=False)
        self.two = torch.nn.Conv2d(4, materials, 1, bias=False)
    def forward(self, x):
        return {"out": self.two(self.one(x))}
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
    with torch.device("meta"):
        plain = models.get_model(name, weights=None, weights_backbone=None, num_classes=3)
    assert body.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(1, 1, 65, 48)
    expected = body(x.repeat(1, 3, 1, 1))["out"]
    assert torch.equal(network.logits(x), expected)
    assert torch.equal(enlarged(network.coarse_logits(x), (65, 48)), expected)
    fold_batch_norm(body)
    assert not [layer for layer in body.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert torch.allclose(network.logits(x), expected, rtol=1e-4, atol=1e-4 * expected.std())


@torch.no_grad()
def test_the_unet_takes_any_size():
    body = randomized(build("unet", 4).body)
    for size in ((64, 64), (33, 47), (1, 1), (7, 100)):
        assert body(torch.randn(2, 1, *size)).shape == (2, 4, *size)


@torch.no_grad()
def test_folding_keeps_what_the_unet_says():
    body = randomized(build("unet", 4).body)
    x = torch.randn(1, 1, 40, 40)
    before = body(x)
    fold_batch_norm(body)
    assert torch.allclose(body(x), before, atol=1e-4)


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
    expected = body.train()(x.repeat(1, 3, 1, 1))["out"]
    body.eval()
    use_batch_statistics(body)
    assert torch.allclose(network.logits(x), expected, atol=1e-5)


@torch.no_grad()
def test_recalibration_takes_the_mean_over_all_batches():
    network = build("unet", 2)
    first = network.body.down[0]
    batches = [torch.randn(3, 1, 16, 16) + shift for shift in (0.0, 2.0, 7.0)]
    recalibrate(network, batches)
    outputs = [first[0](batch) for batch in batches]
    mean = torch.stack([o.mean((0, 2, 3)) for o in outputs]).mean(0)
    variance = torch.stack([o.var((0, 2, 3)) for o in outputs]).mean(0)
    assert torch.allclose(first[1].running_mean, mean, atol=1e-5)
    assert torch.allclose(first[1].running_var, variance, rtol=1e-4)
    assert first[1].momentum == 0.1
    assert not network.body.training


def test_memory_is_counted_without_taking_any(factory):
    pixels = 100 * 80
    weights = 4 * (4 + 4 * 5)
    # a slice, 4 channels, 5 logits; 8 bytes a pixel serve decoding
    values = 4 * pixels * (1 + 4 + 5) + 8 * pixels
    assert prediction_bytes(factory, 5, (100, 80)) == weights + values
    assert training_bytes(factory, 5, (1, 100, 80)) > 4 * weights + 4 * pixels * (4 + 5)


def test_networks_that_cannot_learn_from_one_slice_are_refused():
    with pytest.raises(UsageError, match="cannot learn from batches of 1 x 64 x 64"):
        training_bytes("deeplabv3_mobilenet_v3_large", 2, (1, 64, 64))
