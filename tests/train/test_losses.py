"""Losses against their definitions, in numpy."""

import numpy as np
import pytest
import torch

from xctvol.pairs import IGNORE
from xctvol.stages.train.losses import balance, loss_called

NAMES = ("bce", "cross-entropy", "balanced", "dice")
PIXELS = (80, 16, 4)


@pytest.fixture
def known():
    """Logits, indices with pixels left out, which pixels are known, and their planes."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5))
    indices = rng.integers(0, 3, (2, 4, 5)).astype(np.uint8)
    indices[0, 0] = IGNORE
    wanted = indices[:, None] == np.arange(3)[:, None, None]
    return logits, indices, indices != IGNORE, wanted


def found(name, logits, indices):
    loss = loss_called(name, PIXELS[: logits.shape[1]], torch.device("cpu"))
    return float(loss(torch.tensor(logits), torch.tensor(indices)))


def test_binary_cross_entropy(known):
    logits, indices, annotated, wanted = known
    p = 1 / (1 + np.exp(-logits))
    losses = -np.where(wanted, np.log(p), np.log(1 - p)).mean(1)
    expected = losses[annotated].mean()
    assert found("bce", logits, indices) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy(known):
    logits, indices, annotated, wanted = known
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log((p * wanted).sum(1)[annotated]).mean()
    assert found("cross-entropy", logits, indices) == pytest.approx(expected, rel=1e-5)


def test_balanced_cross_entropy(known):
    logits, indices, annotated, wanted = known
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    weights = 1 / np.sqrt(PIXELS)
    losses, weighed = -np.log((p * wanted).sum(1)[annotated]), weights[indices[annotated]]
    expected = (losses * weighed).sum() / weighed.sum()
    assert found("balanced", logits, indices) == pytest.approx(expected, rel=1e-5)


def test_weights_go_with_the_root_of_the_share_and_have_a_bound():
    weights = balance(PIXELS).numpy()
    np.testing.assert_allclose(weights / weights[0], [1, 5**0.5, 20**0.5], rtol=1e-6)
    assert (weights * PIXELS).sum() == pytest.approx(100)
    assert balance((10**6, 1, 0)).numpy()[1] == pytest.approx(10 * balance((10**6, 1, 0))[0])
    assert torch.isfinite(balance((0, 0))).all()


def test_dice(known):
    logits, indices, annotated, wanted = known
    p = 1 / (1 + np.exp(-logits))
    scores = []
    for k in range(3):
        pk, tk = p[:, k][annotated], wanted[:, k][annotated]
        scores.append((2 * (pk * tk).sum() + 1) / (pk.sum() + tk.sum() + 1))
    assert found("dice", logits, indices) == pytest.approx(1 - np.mean(scores), rel=1e-5)


@pytest.mark.parametrize("loss", NAMES)
def test_pixels_left_out_do_not_count(loss, known):
    logits, indices, annotated, _ = known
    other = np.where(annotated[:, None], logits, 9 - logits)
    assert found(loss, other, indices) == found(loss, logits, indices)
    nothing = np.full((1, 2, 2), IGNORE, np.uint8)
    assert np.isfinite(found(loss, np.zeros((1, 2, 2, 2)), nothing))


@pytest.mark.parametrize("loss", NAMES)
def test_the_truth_is_the_smallest(loss, known):
    _, indices, _, wanted = known
    assert found(loss, 20 * (2.0 * wanted - 1), indices) < 0.02
    assert found(loss, 20 * (1 - 2.0 * wanted), indices) > 0.6
