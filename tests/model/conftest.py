"""Model files with random weights, and a factory that tests can name."""

from functools import partial

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


GREY = GreyScale("uint8", Window(0.0, 255.0), 0.5, 0.25)


def _randomize(body, seed):
    """Weights of trained size and statistics that matter, which fresh networks do not have."""
    torch.manual_seed(seed)
    for layer in body.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, 0, 0.2)


def _save(
    folder, architecture="unet", name="model", materials=MATERIALS, seed=0, grey=GREY, **card
):
    torch.manual_seed(seed)
    body = build(architecture, len(materials)).body
    _randomize(body, seed + 1)
    path = folder / f"{name}.safetensors"
    save_model(path, Card(architecture, materials, grey, **card), body.state_dict())
    return open_model(path)


@pytest.fixture
def save(tmp_path):
    """Writes a model of an architecture, with random weights."""
    return partial(_save, tmp_path)


@pytest.fixture(scope="session")
def fcn_resnet50(tmp_path_factory):
    """A model as `save` writes it; a large file, which all tests that only read it share."""
    return _save(tmp_path_factory.mktemp("fcn"), "fcn_resnet50")


@pytest.fixture
def slices():
    return np.random.default_rng(0).integers(0, 256, (2, 61, 45)).astype(np.uint8)
