"""Predictor against plain torchvision: every pixel, but for ties."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import expit, softmax
from torch.nn import functional
from torchvision import models

from xctvol.errors import InputError, UsageError
from xctvol.materials import Materials
from xctvol.model.card import IDENTITY, Affine, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.loaded import LoadedModel, normalized
from xctvol.model.networks import fold_batch_norm, take_one_channel
from xctvol.model.predict import Predictor, ensemble_for
from xctvol.model.transfers import as_tensor
from xctvol.volume.window import Window

LABELS = np.array([5, 200, 1], np.uint8)


TIE = 1e-5


def plain_logits(model, slices):
    """torchvision's own network, called as its users do: three channels, evaluation mode."""
    name = model.card.architecture
    plain = models.get_model(name, weights=None, weights_backbone=None, num_classes=3)
    plain.load_state_dict(load_file(model.path))
    grey = (torch.tensor(slices.astype(np.float64)) / 255 - 0.5) / 0.25
    with torch.no_grad():
        return plain.eval()(grey.float()[:, None].repeat(1, 3, 1, 1))["out"]


@pytest.mark.parametrize("size", [(64, 64), (61, 45), (97, 130)])
def test_every_voxel_is_that_of_plain_torchvision(fcn_resnet50, size):
    """Folded, one channel, in bands: all at once. Ties are voxels that rounding may decide."""
    model = fcn_resnet50
    slices = np.random.default_rng(0).integers(0, 256, (2, *size)).astype(np.uint8)
    logits = plain_logits(model, slices)
    top = logits.topk(2, 1).values
    ties = (top[:, 0] - top[:, 1] < TIE).numpy()
    expected = LABELS[logits.argmax(1).numpy()]
    predictor = Predictor(model, "cpu")
    found = predictor.labels(slices)
    assert len(np.unique(expected)) > 1
    assert np.count_nonzero((found != expected) & ~ties) == 0
    assert np.count_nonzero(ties) <= 1e-4 * ties.size
    rounding = 1e-5 * float(abs(logits).max())
    assert np.allclose(predictor.logits(slices), logits, atol=rounding, rtol=0)


@pytest.mark.slow
def test_every_voxel_of_the_paper_network(save):
    model = save("fcn_resnet101")
    slices = np.random.default_rng(0).integers(0, 256, (1, 256, 224)).astype(np.uint8)
    logits = plain_logits(model, slices)
    top = logits.topk(2, 1).values
    clear = (top[:, 0] - top[:, 1] >= TIE).numpy()
    expected = LABELS[logits.argmax(1).numpy()]
    assert np.array_equal(Predictor(model, "cpu").labels(slices)[clear], expected[clear])
    assert clear.mean() > 0.9999


def test_a_batch_of_slices_is_its_slices(fcn_resnet50, slices):
    """As on a GPU, where several small slices go through the network together."""
    loaded = LoadedModel(fcn_resnet50, torch.device("cpu"), "fp32")
    with torch.inference_mode():
        together = loaded.coarse(as_tensor(slices), IDENTITY)
        alone = torch.cat([loaded.coarse(as_tensor(image[None]), IDENTITY) for image in slices])
    assert torch.allclose(together, alone, atol=1e-5 * float(alone.abs().max()))


def test_weights_that_are_rounded_once_give_what_autocast_gives(fcn_resnet50, slices):
    network = take_one_channel(fcn_resnet50.network())
    network.body.eval()
    fold_batch_norm(network.body)
    network.body.to(memory_format=torch.channels_last)
    x = normalized(as_tensor(slices[:1]), fcn_resnet50.card.grey)
    loaded = LoadedModel(fcn_resnet50, torch.device("cpu"), "bf16")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = network.coarse_logits(x).float()
    with torch.inference_mode():
        assert torch.equal(loaded.coarse(as_tensor(slices[:1]), IDENTITY), expected)


def test_one_slice_at_a_time_gives_the_same(save, slices):
    predictor = Predictor(save(), "cpu")
    together = predictor.labels(slices)
    assert np.array_equal(together, np.concatenate([predictor.labels(s[None]) for s in slices]))
    assert set(np.unique(together)) <= set(LABELS.tolist())


def test_batch_statistics_are_those_of_each_slice(save, slices):
    architecture = "lraspp_mobilenet_v3_large"
    running = Predictor(save(architecture), "cpu")
    batch = Predictor(save(architecture, name="b", norm="batch"), "cpu")
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", ["running", "batch"])
def test_slices_side_by_side_are_predicted_as_one_after_the_other(save, slices, norm, precision):
    model = save("lraspp_mobilenet_v3_large", norm=norm)
    many = np.concatenate([np.roll(slices, shift, axis=2) for shift in (0, 5, 11)])
    one, several = (Predictor(model, "cpu", precision, threads=n) for n in (1, 3))
    threads = torch.get_num_threads()
    assert np.array_equal(one.labels(many), several.labels(many))
    assert np.array_equal(one.logits(many), several.logits(many))
    details, others = one.details(many), several.details(many)
    for found in ("labels", "probabilities", "margin"):
        assert np.array_equal(getattr(details, found), getattr(others, found))
    assert torch.get_num_threads() == threads


def test_a_process_loads_a_model_once(save):
    model = save()
    first = ensemble_for(((model.path, model.digest),), "cpu", "fp32")
    assert ensemble_for(((model.path, model.digest),), "cpu", "fp32") is first


def test_a_process_loads_an_ensemble_once(save):
    two = [save(name=name, seed=seed) for seed, name in enumerate("ab")]
    files = tuple((model.path, model.digest) for model in two)
    first = ensemble_for(files, "cpu", "fp32")
    assert ensemble_for(files, "cpu", "fp32") is first
    assert ensemble_for(files, "cpu", "fp32", "threshold") is not first


def test_a_model_that_changed_since_the_plan_is_refused(save):
    model = save()
    card, weights = model.card.with_norm("batch"), model.network().body.state_dict()
    save_model(model.path, card, weights)
    with pytest.raises(InputError, match="has changed since the plan"):
        ensemble_for(((model.path, model.digest),), "cpu", "fp32")
    changed = open_model(model.path)
    assert ensemble_for(((model.path, changed.digest),), "cpu", "fp32").card.norm == "batch"


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cpu", "fp16", "fp16 needs a GPU"),
        ("cpu", "tf32", "tf32 needs a GPU"),
        ("cuda:99", "auto", "torch sees"),
        ("toaster", "auto", "no device 'toaster'"),
    ],
)
def test_what_is_not_there_is_not_replaced_silently(save, device, precision, message):
    with pytest.raises(UsageError, match=message):
        Predictor(save(), device, precision)


def materials_of(thresholds):
    entries = zip("abc", (1, 2, 4), thresholds, strict=True)
    return Materials.from_json(
        [{"name": n, "mask": v, "label": v, "threshold": float(t)} for n, v, t in entries]
    )


def chances(predictor, slices):
    """Probabilities as scipy has them, of logits by one model."""
    logits = predictor.logits(slices).astype(np.float64)
    return {"sigmoid": expit, "softmax": partial(softmax, axis=1)}[predictor.card.probability](
        logits
    )


def test_the_rule_is_that_of_the_card_unless_given(save, slices):
    p = chances(Predictor(save(materials=materials_of((0.5, 0.5, 0.5))), "cpu"), slices)
    least = [np.quantile(p[:, k], share) for k, share in enumerate((0.4, 0.6, 0.7))]
    model = save(materials=materials_of(least), decode="threshold_sum")
    distance = p - np.array(least)[:, None, None]
    clear, reached = (abs(distance) > 1e-6).all(1), distance >= 0
    sums = (reached * np.array([1, 2, 4])[:, None, None]).sum(1)
    assert {0, 1, 2, 3, 4} <= set(np.unique(sums).tolist())  # overlaps, and none
    assert np.array_equal(Predictor(model, "cpu").labels(slices)[clear], sums[clear])
    one = Predictor(model, "cpu", decode="threshold").labels(slices)
    assert np.array_equal((one == 0)[clear], ~reached.any(1)[clear])
    single = clear & (reached.sum(1) == 1)
    assert np.array_equal(one[single], sums[single])
    largest = Predictor(model, "cpu", decode="argmax").labels(slices)
    for decode, labels in (("argmax", largest), ("threshold", one)):
        indices = Predictor(model, "cpu", decode=decode).indices(slices)
        assert np.array_equal(labels, np.array([1, 2, 4, 0])[indices])
    with pytest.raises(UsageError, match="may name several materials"):
        Predictor(model, "cpu").indices(slices)


@pytest.mark.parametrize(
    "kinds", [["sigmoid"] * 3, ["softmax"] * 3, ["softmax", "sigmoid", "softmax"]]
)
def test_several_models_decide_by_their_mean_probability(save, slices, kinds):
    together = [
        save("unet", name, seed=seed, probability=kind)
        for seed, (name, kind) in enumerate(zip("abc", kinds, strict=True))
    ]
    alone = [Predictor(model, "cpu") for model in together]
    mean = np.mean([chances(predictor, slices) for predictor in alone], axis=0)
    top = np.sort(mean, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-6
    expected = LABELS[mean.argmax(1)]
    found = Predictor(together, "cpu").details(slices)
    assert np.array_equal(found.labels[clear], expected[clear])
    assert clear.mean() > 0.999
    assert not any(np.array_equal(expected, p.labels(slices)) for p in alone)
    assert abs(found.probabilities - 255 * mean).max() < 0.501
    assert abs(found.margin - 255 * (top[:, -1] - top[:, -2])).max() < 0.501


def test_thresholds_are_of_the_probabilities_that_the_card_means(save, slices):
    model = save("unet", materials=materials_of((0.4, 0.4, 0.4)), probability="softmax")
    p = chances(Predictor(model, "cpu"), slices)
    clear = abs(p - 0.4).min(1) > 1e-6
    reached = p >= 0.4
    found = Predictor(model, "cpu", decode="threshold_sum").labels(slices)
    sums = (reached * np.array([1, 2, 4])[:, None, None]).sum(1)
    assert len(np.unique(sums)) > 2
    assert np.array_equal(found[clear], sums[clear])


def test_what_probabilities_are_changes_no_label_of_one_model(save, slices):
    one, other = (save("unet", kind, probability=kind) for kind in ("sigmoid", "softmax"))
    first, second = (Predictor(model, "cpu") for model in (one, other))
    assert np.array_equal(first.labels(slices), second.labels(slices))
    found = second.details(slices)
    assert np.array_equal(found.labels, first.labels(slices))
    assert abs(found.probabilities.sum(1, dtype=int) - 255).max() <= 2


def test_details_have_the_labels_of_labels(fcn_resnet50, slices):
    predictor = Predictor(fcn_resnet50, "cpu")
    assert np.array_equal(predictor.details(slices).labels, predictor.labels(slices))


def test_the_margin_of_one_material_is_its_probability(save, slices):
    one = Materials.from_json([{"name": "a", "mask": 1, "label": 5}])
    found = Predictor(save(materials=one), "cpu").details(slices)
    assert np.array_equal(found.margin, found.probabilities[:, 0])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"materials": materials_of((0.5, 0.5, 0.5))}, "differ in materials"),
        ({"decode": "threshold"}, "differ in decode rule"),
        ({"grey": GreyScale("uint16", Window(0, 9), 0.5, 0.2)}, "differ in type of grey values"),
    ],
)
def test_models_that_mean_different_things_do_not_decide_together(save, other, message):
    with pytest.raises(InputError, match=message):
        Predictor([save(name="a"), save(name="b", seed=1, **other)], "cpu")


def test_a_rule_that_is_given_settles_what_the_cards_say(save, slices):
    two = [save(name="a"), save(name="b", seed=1, decode="threshold")]
    assert Predictor(two, "cpu", decode="argmax").labels(slices).shape == slices.shape


def test_no_model_and_one_model_twice_are_refused(save):
    with pytest.raises(UsageError, match="no model"):
        Predictor([], "cpu")
    with pytest.raises(UsageError, match=r"b.safetensors has the same content as .*a.safetensors"):
        Predictor([save(name="a"), save(name="b")], "cpu")


@pytest.mark.parametrize("scale", [0.5, 0.85])
def test_slices_are_resized_as_pillow_does(save, slices, scale):
    grey, size = save().card.grey, [int(scale * n) for n in slices.shape[1:]]
    ours = normalized(as_tensor(slices), grey, scale=scale)[:, 0].numpy()
    for image, seen in zip(slices, ours, strict=True):
        small = Image.fromarray(image.astype(np.float32)).resize(
            size[::-1], Image.Resampling.BICUBIC
        )
        expected = (np.clip(np.asarray(small) / 255, 0, 1) - grey.mean) / grey.std
        assert np.abs(seen - expected).max() < 1e-4


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", ">u2", "float64"])
def test_slices_of_any_type_are_seen_as_their_values(save, slices, dtype):
    grey = save().card.grey
    stored = (100 * slices.astype(np.int64)).astype(dtype)
    assert stored.dtype == dtype
    seen = normalized(as_tensor(stored), grey, Affine(0.01, 0.0))
    expected = normalized(torch.from_numpy(stored.astype(np.float32)), grey, Affine(0.01, 0.0))
    assert torch.equal(seen, expected)
    assert len(seen.unique()) > 200


def test_labels_of_a_model_for_smaller_slices_come_back_at_full_size(save, slices):
    model = save("fcn_resnet50", scale=0.5)
    predictor, body = Predictor(model, "cpu"), model.network().body.eval()
    small = normalized(as_tensor(slices), model.card.grey, scale=0.5)
    assert small.shape == (2, 1, 30, 22)
    with torch.no_grad():
        coarse = body.coarse(small.repeat(1, 3, 1, 1))
    size = slices.shape[1:]
    full = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    top = full.topk(2, 1).values
    clear = (top[:, 0] - top[:, 1] > TIE).numpy()
    assert np.array_equal(predictor.labels(slices)[clear], LABELS[full.argmax(1).numpy()][clear])
