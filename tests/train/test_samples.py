"""Views of slices: cut, turned and flipped, image and annotation alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xctvol.stages.train.samples import Sample, View, crops_an_epoch, cut, epoch_batches


@pytest.fixture
def sample():
    grey = torch.arange(30 * 20, dtype=torch.float32).reshape(30, 20)
    return Sample(grey, (grey % 251).to(torch.uint8))


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
    assert crops_an_epoch([(100, 100), (100, 300)], 50, 4) == 4
    assert crops_an_epoch([(10, 10)], 50, 4) == 1
    batches = list(epoch_batches([sample] * 4, 10, 3, np.random.default_rng(0)))
    assert len(batches) == 8
    assert {tuple(batch.image.shape) for batch in batches} == {(3, 10, 10)}


def test_an_epoch_of_whole_slices_has_each_once(sample):
    others = [Sample(torch.full_like(sample.image, i), sample.indices) for i in range(5)]
    batches = list(epoch_batches(others, None, 1, np.random.default_rng(3)))
    values = sorted(float(batch.image.mean()) for batch in batches)
    assert values == pytest.approx(range(5), abs=1e-4)
    assert all(batch.image.shape == (1, 30, 20) for batch in batches)


def test_the_rng_alone_decides(sample):
    first, second = (
        [b.image for b in epoch_batches([sample], 12, 2, np.random.default_rng(7))] for _ in "ab"
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
