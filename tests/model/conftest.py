"""Model files with random weights, and a factory that tests can name."""

import numpy as np
import pytest
import torch

from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.volume.window import Window

MATERIALS = Materials.from_json(
    [
        {"name": "a", "mask": 1, "label": 5},
        {"name": "b", "mask": 2, "label": 200},
        {"name": "c", "mask": 3, "label": 1},
    ]
)


def _randomize(body):
    """Weights of trained size and statistics that matter, which fresh networks do not have."""
    torch.manual_seed(1)
    for layer in body.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, 0, 0.2)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small arrays: two threads that wait for each other would be slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def save(tmp_path):
    """Writes a model of an architecture, with random weights."""

    def make(architecture="unet", name="model", materials=MATERIALS, **card):
        torch.manual_seed(0)
        body = build(architecture, len(materials)).body
        _randomize(body)
        grey = GreyScale("uint8", Window(0.0, 255.0), 0.5, 0.25)
        path = tmp_path / f"{name}.safetensors"
        save_model(path, Card(architecture, materials, grey, **card), body.state_dict())
        return open_model(path)

    return make


@pytest.fixture
def slices():
    return np.random.default_rng(0).integers(0, 256, (2, 61, 45)).astype(np.uint8)
