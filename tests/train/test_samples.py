"""Views of slices: cut, turned and flipped, image and annotation alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xctvol.pairs import IGNORE
from xctvol.stages.train.samples import Sample, View, cut, epoch_batches
from xctvol.stages.train.settings import Settings


@pytest.fixture
def sample():
    grey = torch.arange(30 * 20, dtype=torch.float32).reshape(30, 20)
    return Sample(grey, (grey % 251).to(torch.uint8))


def drawn(samples, seed, **options):
    rng = np.random.default_rng(seed)
    return epoch_batches(samples, Settings(**options), rng, torch.device("cpu"))


def test_a_plain_view_is_a_window(sample):
    part = cut(sample, View((3, 5), (8, 6)))
    assert torch.equal(part.image, sample.image[3:11, 5:11])
    assert torch.equal(part.indices, sample.indices[3:11, 5:11])


def test_flips(sample):
    part = cut(sample, View((0, 0), (30, 20), flips=(0, 1)))
    assert torch.equal(part.image, sample.image.flip(0, 1))
    assert torch.equal(part.indices, sample.indices.flip(0, 1))


@pytest.mark.parametrize(("degrees", "quarters"), [(90.0, 1), (-90.0, -1), (180.0, 2)])
def test_quarter_turns_are_exact(sample, degrees, quarters):
    corner, size = (6, 4), (8, 8)
    part = cut(sample, View(corner, size, degrees))
    window = (slice(6, 14), slice(4, 12))
    assert torch.equal(part.indices, torch.rot90(sample.indices[window], quarters))
    assert torch.allclose(part.image, torch.rot90(sample.image[window], quarters), atol=1e-2)


def test_corners_of_a_turned_view_show_what_is_there():
    y = np.indices((60, 60), dtype=np.float32)[0]
    inside = cut(
        Sample(torch.tensor(y), torch.zeros(60, 60, dtype=torch.uint8)),
        View((20, 20), (20, 20), 30),
    )
    rows, columns = np.indices((20, 20)) - 9.5
    turned = 29.5 + rows * math.cos(math.radians(30)) + columns * math.sin(math.radians(30))
    np.testing.assert_allclose(inside.image, turned, atol=1e-3)


def test_outside_is_the_reflection(sample):
    part = cut(sample, View((-2, 0), (34, 20)))
    expected = np.pad(sample.indices.numpy(), ((2, 2), (0, 0)), mode="symmetric")
    assert np.array_equal(part.indices, expected)


@given(st.integers(0, 10**6), st.integers(8, 40))
def test_drawn_views_lie_inside_and_stay_small(seed, crop):
    view = View.draw((40, 60), crop, np.random.default_rng(seed))
    assert view.size == (crop, crop)
    assert all(0 <= c <= w - crop for c, w in zip(view.corner, (40, 60), strict=True))
    assert abs(view.degrees) <= 50


def test_an_epoch_of_crops_has_about_the_area_of_all_slices(sample):
    fours = Settings(crop=50, batch=4)
    assert fours.batches([(100, 100), (100, 300)]) == 4
    assert fours.batches([(10, 10)]) == 1
    assert fours.batches([(10_000, 10_000)] * 20) == 250
    assert Settings().batches([(100, 100), (100, 300)]) == 2
    batches = list(drawn([sample] * 4, 0, crop=10, batch=3))
    assert len(batches) == 8
    assert {tuple(batch.image.shape) for batch in batches} == {(3, 10, 10)}


def test_an_epoch_of_whole_slices_has_each_once(sample):
    others = [Sample(torch.full_like(sample.image, i), sample.indices) for i in range(5)]
    batches = list(drawn(others, 3))
    values = sorted(float(batch.image.mean()) for batch in batches)
    assert values == pytest.approx(range(5), abs=1e-4)
    assert all(batch.image.shape == (1, 30, 20) for batch in batches)


def test_the_rng_alone_decides(sample):
    first, second = (
        [b.image for b in drawn([sample], 7, crop=12, batch=2, jitter=0.2)] for _ in "ab"
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_crops_of_sparse_marks_show_some():
    """One row of 64 is annotated: of crops of 8 pixels drawn blindly, most would show nothing."""
    indices = torch.full((64, 64), IGNORE, dtype=torch.uint8)
    indices[40] = 1
    sparse = Sample(torch.zeros(64, 64), indices)
    batches = list(drawn([sparse], 0, crop=8, batch=4))
    assert len(batches) == 16
    assert all((crop == 1).any() for batch in batches for crop in batch.indices)


def test_a_slice_whose_marks_are_never_met_still_gives_crops():
    nothing = Sample(torch.zeros(9, 9), torch.full((9, 9), IGNORE, dtype=torch.uint8))
    (batch,) = drawn([nothing], 0, crop=9)
    assert (batch.indices == IGNORE).all()


def test_jitter_varies_brightness_and_contrast_of_some():
    """Grey values stay a straight line of what they were, within the bounds; marks stay."""
    grey = torch.linspace(-2, 2, 64)
    one = Sample(grey.expand(64, 64).contiguous(), torch.ones(64, 64, dtype=torch.uint8))
    lines = []
    for seed in range(200):
        (batch,) = drawn([one], seed, jitter=0.3)
        values = batch.image[0].sort(-1).values[32]
        if torch.allclose(batch.image.sort(-1).values, values.expand(1, 64, 64), atol=1e-4):
            contrast, brightness = np.polyfit(grey.numpy(), values.numpy(), 1)
            lines.append((contrast - 1, brightness))
        assert (batch.indices == 1).all()
    found = np.array(lines)
    assert len(found) > 50  # the others were turned
    assert np.abs(found).max() <= 0.3 + 1e-3
    varied = np.abs(found).max(1) > 1e-3
    assert 0.2 < varied.mean() < 0.6
    assert np.ptp(found[varied], axis=0).min() > 0.4
