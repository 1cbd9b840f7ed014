"""Counting labels, against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xctvol.labels.counting import count_labels

some = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)


def by_numpy(labels):
    return {value: count for value, count in enumerate(np.bincount(labels.ravel())) if count}


@given(hnp.arrays(np.uint8, some, elements=st.sampled_from([0, 1, 2, 255])))
def test_every_voxel_is_counted(labels):
    assert count_labels(labels) == by_numpy(labels)


@pytest.mark.parametrize("values", [1, 3, 256])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 210, 211), (2, 512, 512)])
def test_runs_and_noise_are_counted(shape, values):
    labels = np.random.default_rng(0).integers(0, values, shape).astype(np.uint8)
    labels[:, : shape[1] // 2] = 0
    assert count_labels(labels) == by_numpy(labels)
