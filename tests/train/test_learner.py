"""Steps: accumulated, computed twice, at the rate of the epoch."""

import math

import pytest
import torch
from torch import nn

from xctvol.errors import UsageError
from xctvol.model.memory import training_bytes
from xctvol.model.networks import Network, build
from xctvol.model.recompute import recompute_layers
from xctvol.stages.train.learner import Learner
from xctvol.stages.train.losses import binary_cross_entropy
from xctvol.stages.train.samples import Sample
from xctvol.stages.train.settings import Settings

CPU = torch.device("cpu")
PIXELS = (1, 1)


def batches(count, size=2, side=64):
    generator = torch.Generator().manual_seed(0)
    return [
        Sample(
            torch.randn(size, side, side, generator=generator),
            torch.randint(0, 2, (size, side, side), generator=generator).to(torch.uint8),
        )
        for _ in range(count)
    ]


def joined(parts):
    return Sample(
        torch.cat([part.image for part in parts]), torch.cat([part.indices for part in parts])
    )


def plain():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 1))
    return Network(body, channels=1, coarse=None, ordered=False)


@pytest.mark.parametrize(("count", "groups"), [(4, [2, 2]), (3, [2, 1])])
def test_accumulated_batches_are_one_large_batch(count, groups):
    """Without batch normalization, and the last group smaller where they do not fit."""
    small, large, parts = plain(), plain(), batches(count)
    Learner(small, Settings(accumulate=2), CPU, PIXELS).learn(parts, 1e-2)
    whole, rest = [], list(parts)
    for size in groups:
        whole.append(joined(rest[:size]))
        del rest[:size]
    Learner(large, Settings(), CPU, PIXELS).learn(whole, 1e-2)
    for one, other in zip(small.body.parameters(), large.body.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    once = plain()
    Learner(once, Settings(), CPU, PIXELS).learn(parts, 1e-2)
    assert not torch.allclose(once.body[0].weight, small.body[0].weight, atol=1e-5)


@pytest.mark.parametrize("architecture", ["unet", "lraspp_mobilenet_v3_large"])
def test_layers_computed_twice_learn_the_same(architecture):
    """Bit for bit, weights and running statistics alike, with less memory."""
    bodies = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = build(architecture, 2)
        settings = Settings(architecture, checkpointing=checkpointing)
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            Learner(network, settings, CPU, PIXELS).learn(batches(2), 1e-3)
        bodies.append(network.body.state_dict())
    for name, tensor in bodies[0].items():
        assert torch.equal(tensor, bodies[1][name]), name


@pytest.mark.parametrize(
    ("architecture", "saved"),
    [("unet", 0.2), ("lraspp_mobilenet_v3_large", 0.3), ("fcn_resnet50", 0.35)],
)
def test_less_memory_is_planned_for_layers_computed_twice(architecture, saved):
    shape, weights = (2, 256, 256), 4 * training_weights(architecture)
    kept, twice = (
        training_bytes(architecture, 3, shape, binary_cross_entropy, checkpointing=c) - weights
        for c in (False, True)
    )
    assert twice < (1 - saved) * kept


def training_weights(architecture):
    return sum(t.nbytes for t in build(architecture, 3).body.state_dict().values())


def test_only_known_layers_can_be_computed_twice():
    with pytest.raises(UsageError, match="checkpointing knows the layers of unet"):
        recompute_layers(plain().body)


def test_the_rate_of_each_epoch():
    constant = Settings(epochs=4, learning_rate=0.1)
    assert [constant.rate(epoch) for epoch in range(1, 5)] == [0.1] * 4
    cosine = Settings(epochs=4, learning_rate=0.1, schedule="cosine")
    expected = [0.05 * (1 + math.cos(math.pi * part)) for part in (0, 0.25, 0.5, 0.75)]
    assert [cosine.rate(epoch) for epoch in range(1, 5)] == pytest.approx(expected)


def test_steps_are_as_long_as_the_rate():
    """Adam's first step moves each weight by the learning rate."""
    network = plain()
    before = network.body[2].bias.detach().clone()
    Learner(network, Settings(), CPU, PIXELS).learn(batches(1), 0.125)
    assert torch.allclose((network.body[2].bias - before).abs(), torch.tensor(0.125), rtol=1e-3)
