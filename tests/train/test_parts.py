"""The loss, the grey scale and the split."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.pairs import Pairs
from xctvol.pairs.folder import Pair
from xctvol.stages.train.fit import rng_of
from xctvol.stages.train.greys import grey_scale
from xctvol.stages.train.settings import Settings, SplitBy, settings_for
from xctvol.stages.train.splits import split_pairs


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


def test_settings_suit_the_network_where_they_are_not_given():
    sizes = [(640, 640)] * 5
    assert settings_for(sizes) == Settings()
    resnet = settings_for(sizes, architecture="fcn_resnet50", crop=0, epochs=None)
    assert resnet == Settings("fcn_resnet50")
    small = settings_for(sizes, architecture="unet", batch=2, loss="bce")
    assert (small.crop, small.batch, small.loss, small.schedule) == (64, 2, "bce", "cosine")
    whole = settings_for(sizes, architecture="unet", crop=0, epochs=3)
    assert (whole.crop, whole.batch, whole.epochs) == (None, 1, 3)


@pytest.mark.parametrize("sizes", [[(700, 1000)], [(1000, 1200)] * 3, [(3000, 3000)] * 50])
def test_the_small_network_makes_as_many_steps_for_few_slices_as_for_many(sizes):
    assert settings_for([(64, 64)], architecture="unet").epochs == 1000
    chosen = settings_for(sizes, architecture="unet")
    assert chosen.epochs * chosen.batches(sizes) == pytest.approx(4000, rel=0.02)


def pairs_of(scans):
    folder = Path("leaves")
    table = tuple(Pair(f"{i}", scan, folder, ()) for i, scan in enumerate(scans))
    return Pairs(folder, Materials.numbered((1, 2)), table)


def settings(**options):
    defaults = Settings("unet", 1, 1, 0, None, 1, 1e-3, 0.5, "cpu")
    return replace(defaults, **options)


@given(
    scans=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40),
    validation=st.floats(0.01, 0.99),
    replicate=st.integers(0, 9),
    seed=st.integers(0, 99),
    by=st.sampled_from(get_args(SplitBy)),
)
def test_a_split_uses_every_pair_once(scans, validation, replicate, seed, by):
    assume(by == "slice" or len(set(scans)) > 1)
    pairs, options = pairs_of(scans), settings(validation=validation, seed=seed, split=by)
    learning, choosing = split_pairs(pairs, options, replicate, rng_of(options, replicate, 0))
    assert sorted([*learning, *choosing], key=pairs.index) == list(pairs)
    assert learning
    assert choosing
    if by == "slice":
        assert len(choosing) == min(max(1, round(validation * len(pairs))), len(pairs) - 1)
    else:
        assert not {p.scan for p in learning}.intersection(p.scan for p in choosing)
    again = split_pairs(pairs, options, replicate, rng_of(options, replicate, 0))
    assert again == (learning, choosing)


def test_half_of_the_scans_choose_by_default():
    pairs, options = pairs_of("aaabbcd"), settings(split="scan")
    found = set()
    for replicate in range(20):
        _, choosing = split_pairs(pairs, options, replicate, rng_of(options, replicate, 0))
        found.add(frozenset(pair.scan for pair in choosing))
    assert {len(scans) for scans in found} == {2}
    assert len(found) > 3  # other replicates, other scans


def test_each_scan_is_left_out_once():
    pairs, options = pairs_of("aabbbc"), settings(split="leave-one-scan-out")
    left_out = [
        {pair.scan for pair in split_pairs(pairs, options, r, np.random.default_rng())[1]}
        for r in range(3)
    ]
    assert left_out == [{"a"}, {"b"}, {"c"}]
