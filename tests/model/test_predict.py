"""Predictor against plain torchvision: every pixel, but for ties."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision import models

from xctvol.errors import InputError, UsageError
from xctvol.model.card import Affine
from xctvol.model.file import open_model, save_model
from xctvol.model.predict import Predictor, predictor_for

LABELS = np.array([5, 200, 1], np.uint8)


@torch.no_grad()
def test_labels_equal_plain_torchvision(save):
    model = save("fcn_resnet50")
    plain = models.get_model("fcn_resnet50", weights=None, weights_backbone=None, num_classes=3)
    plain.load_state_dict(load_file(model.path))
    plain.eval()
    predictor = Predictor(model, "cpu")
    for size in ((64, 64), (61, 45)):
        slices = np.random.default_rng(0).integers(0, 256, (2, *size)).astype(np.uint8)
        grey = (torch.tensor(slices.astype(np.float64)) / 255 - 0.5) / 0.25
        logits = plain(grey.float()[:, None].repeat(1, 3, 1, 1))["out"]
        compare(predictor, slices, logits)


def compare(predictor, slices, logits):
    top = logits.topk(2, 1).values
    clear = (top[:, 0] - top[:, 1] > 1e-4 * float(logits.std())).numpy()
    expected = LABELS[logits.argmax(1).numpy()]
    assert len(np.unique(expected)) > 1
    assert clear.mean() > 0.999
    assert np.array_equal(predictor.labels(slices)[clear], expected[clear])
    assert np.allclose(predictor.logits(slices), logits, atol=1e-4 * float(logits.std()))


def test_one_slice_at_a_time_gives_the_same(save, slices):
    predictor = Predictor(save(), "cpu")
    together = predictor.labels(slices)
    assert np.array_equal(together, np.concatenate([predictor.labels(s[None]) for s in slices]))
    assert set(np.unique(together)) <= set(LABELS.tolist())


def test_batch_statistics_are_those_of_each_slice(save, slices):
    running, batch = Predictor(save(), "cpu"), Predictor(save(name="b", norm="batch"), "cpu")
    bright = np.stack([slices[0], np.full_like(slices[0], 255)])
    assert np.array_equal(batch.labels(bright)[0], batch.labels(slices)[0])
    assert not np.array_equal(batch.logits(slices), running.logits(slices))


def test_stored_and_original_grey_values_give_the_same(save, slices):
    """A volume converted to 8 bits with a window says what its values were."""
    predictor = Predictor(save(), "cpu")
    stored = slices // 2
    original = stored.astype(np.uint16) * 2 + 1
    assert np.array_equal(predictor.labels(stored, Affine(2.0, 1.0)), predictor.labels(original))


@pytest.mark.parametrize("dtype", [">u2", "<i4", ">f4", "f8"])
def test_any_byte_order_and_read_only_memory(save, slices, dtype):
    predictor = Predictor(save(), "cpu")
    expected = predictor.labels(slices)
    other = slices.astype(dtype)
    other.flags.writeable = False
    assert np.array_equal(predictor.labels(other), expected)


def test_the_slices_are_left_alone(save, slices):
    grey = slices.astype(np.float32)
    Predictor(save(), "cpu").labels(grey)
    assert np.array_equal(grey, slices)


def test_bf16_says_nearly_the_same(save, slices):
    model = save()
    exact, fast = (Predictor(model, "cpu", p).labels(slices) for p in ("fp32", "bf16"))
    assert (exact == fast).mean() > 0.9


def test_a_process_loads_a_model_once(save):
    model = save()
    first = predictor_for(model.path, model.digest, "cpu", "fp32")
    assert predictor_for(model.path, model.digest, "cpu", "fp32") is first


def test_a_model_that_changed_since_the_plan_is_refused(save):
    model = save()
    card, weights = model.card.with_norm("batch"), model.network().body.state_dict()
    save_model(model.path, card, weights)
    with pytest.raises(InputError, match="has changed since the plan"):
        predictor_for(model.path, model.digest, "cpu", "fp32")
    changed = open_model(model.path)
    assert predictor_for(model.path, changed.digest, "cpu", "fp32").card.norm == "batch"


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cpu", "fp16", "needs a GPU"),
        ("cuda:99", "auto", "torch sees"),
        ("toaster", "auto", "no device 'toaster'"),
    ],
)
def test_what_is_not_there_is_not_replaced_silently(save, device, precision, message):
    with pytest.raises(UsageError, match=message):
        Predictor(save(), device, precision)
