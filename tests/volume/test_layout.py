"""Layouts: what every writer and reader relies on, for any shape."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from xctvol.volume.layout import SLAB, layout_of

shapes = st.tuples(st.integers(1, 9000), st.integers(1, 5000), st.integers(1, 5000))


@given(shapes)
def test_every_slab_holds_whole_shards_of_every_level(shape):
    for number, level in enumerate(layout_of(shape).levels):
        depth = level.shard[0]
        assert depth << number == SLAB
        assert all(s % c == 0 for s, c in zip(level.shard, level.chunk, strict=True))
        for position in range(0, shape[0], SLAB):
            assert position >> number == position / SLAB * depth


@given(shapes)
def test_levels_halve_until_they_fit_a_screen(shape):
    levels = layout_of(shape).levels
    assert levels[0].shape == shape
    for fine, coarse in pairwise(levels):
        assert coarse.shape == tuple(-(-n // 2) for n in fine.shape)
    assert max(levels[-1].shape) <= 1024 or len(levels) == 7


@given(shapes)
def test_shards_are_near_a_thousand_voxels_wide(shape):
    for level in layout_of(shape).levels:
        for length, side in zip(level.shape[1:], level.shard[1:], strict=True):
            assert side <= 1536
            assert side >= min(512, length)


def test_detector_sizes_are_divided_exactly():
    assert layout_of((2000, 2560, 2560)).levels[0].shard == (64, 1280, 1280)
    assert layout_of((2000, 2048, 2048)).levels[0].shard == (64, 1024, 1024)
