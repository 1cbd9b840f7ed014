"""The loss, the grey scale and the split."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.pairs import IGNORE, Pairs
from xctvol.pairs.folder import Pair
from xctvol.stages.train.fit import material_loss
from xctvol.stages.train.greys import grey_scale
from xctvol.stages.train.replicate import split
from xctvol.stages.train.settings import Settings


def test_the_loss_is_binary_cross_entropy_of_annotated_pixels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5))
    indices = rng.integers(0, 3, (2, 4, 5)).astype(np.uint8)
    indices[0, 0] = IGNORE
    p = 1 / (1 + np.exp(-logits))
    wanted = indices[:, None] == np.arange(3)[:, None, None]
    losses = -np.where(wanted, np.log(p), np.log(1 - p)).mean(1)
    expected = losses[indices != IGNORE].mean()
    found = material_loss(torch.tensor(logits), torch.tensor(indices))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_nothing_annotated_gives_no_loss():
    indices = torch.full((1, 2, 2), IGNORE, dtype=torch.uint8)
    assert float(material_loss(torch.zeros(1, 2, 2, 2), indices)) == 0


def test_the_grey_scale_of_16_bits_comes_from_percentiles():
    rng = np.random.default_rng(0)
    images = [rng.integers(2000, 40000, size).astype(np.uint16) for size in ((50, 60), (80, 90))]
    grey = grey_scale(images)
    values = np.concatenate([image.ravel() for image in images]).astype(float)
    low, high = np.percentile(values, (0.1, 99.9), method="inverted_cdf")
    assert (grey.window.low, grey.window.high) == (low, high)
    scaled = np.clip((values - low) / (high - low), 0, 1)
    assert (grey.mean, grey.std) == pytest.approx((scaled.mean(), scaled.std()))
    assert grey.dtype == "uint16"


def test_8_bits_keep_their_range():
    grey = grey_scale([np.array([[10, 20]], np.uint8)])
    assert (grey.window.low, grey.window.high, grey.mean) == (0, 255, pytest.approx(15 / 255))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_grey_value_teaches_nothing(dtype):
    with pytest.raises(InputError, match="one"):
        grey_scale([np.full((4, 4), 7, dtype)])


@given(
    count=st.integers(2, 40),
    validation=st.floats(0.01, 0.99),
    replicate=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_a_split_uses_every_pair_once(tmp_path_factory, count, validation, replicate, seed):
    folder = tmp_path_factory.getbasetemp()
    table = tuple(Pair(str(i), folder, folder) for i in range(count))
    pairs = Pairs(folder, Materials.numbered((1, 2)), table)
    settings = Settings("unet", 1, 1, seed, None, 1, 1e-3, validation, "cpu")
    learning, choosing = split(pairs, settings, replicate)
    assert sorted([*learning, *choosing], key=table.index) == list(table)
    assert learning
    assert choosing
    assert len(choosing) == min(max(1, round(validation * count)), count - 1)
    assert split(pairs, settings, replicate) == (learning, choosing)
