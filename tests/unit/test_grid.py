import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import PlanError
from xctvol.grid import Block, Box, Grid

shapes = st.tuples(*[st.integers(1, 9)] * 3)
halos = st.tuples(*[st.integers(0, 3)] * 3)
grids = st.builds(Grid, shapes, shapes, halos)


@st.composite
def boxes(draw, size=9):
    pairs = [sorted(draw(st.tuples(*[st.integers(0, size)] * 2))) for _ in range(3)]
    return Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


@given(grids)
def test_write_boxes_tile_the_volume_exactly_once(grid):
    written = np.zeros(grid.shape, int)
    for block in grid:
        written[block.write.slices] += 1
        assert Box.whole(grid.shape).intersect(block.write) == block.write
    assert (written == 1).all()


@given(grids)
def test_a_block_reads_what_it_writes_and_its_halo_below(grid):
    for block in grid:
        assert block.read.stop == block.write.stop
        for low, start, halo in zip(block.read.start, block.write.start, grid.halo, strict=True):
            assert low == max(0, start - halo)


@given(grids)
def test_blocks_are_counted_and_numbered(grid):
    blocks = list(grid)
    assert len(blocks) == len(grid) == np.prod(grid.counts)
    assert [block.index for block in blocks] == list(range(len(grid)))
    assert blocks == [grid[i] for i in range(len(grid))]
    starts = [block.write.start for block in blocks]
    assert starts == sorted(starts), "raster order"


@pytest.mark.parametrize("index", [-1, 8])
def test_there_is_no_block_beyond_the_grid(index):
    with pytest.raises(IndexError):
        Grid((4, 4, 4), (2, 2, 2))[index]


@pytest.mark.parametrize(
    ("shape", "block", "halo"),
    [((0, 4, 4), (2, 2, 2), (0, 0, 0)), ((4, 4, 4), (2, 0, 2), (0, 0, 0)),
     ((4, 4, 4), (2, 2, 2), (-1, 0, 0))],
)  # fmt: skip  # one case a line
def test_impossible_grids_are_refused(shape, block, halo):
    with pytest.raises(PlanError, match="cannot divide a volume"):
        Grid(shape, block, halo)


@given(boxes(), boxes())
def test_intersection_is_that_of_the_voxels(a, b):
    both = np.zeros((2, 9, 9, 9), bool)
    both[0][a.slices] = True
    both[1][b.slices] = True
    shared = a.intersect(b)
    expected = np.zeros((9, 9, 9), bool)
    if shared is not None:
        expected[shared.slices] = True
    assert (both.all(axis=0) == expected).all()
    assert (shared is None) == (not expected.any())


@given(boxes(), boxes())
def test_within_finds_the_same_voxels_in_the_outer_array(outer, other):
    inner = outer.intersect(other)
    if inner is not None:
        volume = np.arange(9**3).reshape(9, 9, 9)
        found = volume[outer.slices][inner.within(outer)]
        np.testing.assert_array_equal(found, volume[inner.slices])


@given(boxes())
def test_shape_and_size_are_those_of_the_array(box):
    array = np.zeros((9, 9, 9))[box.slices]
    assert (box.shape, box.size) == (array.shape, array.size)


def test_the_whole_box_holds_every_voxel():
    assert Box.whole((2, 3, 4)) == Box((0, 0, 0), (2, 3, 4))


def test_a_box_never_ends_before_it_starts():
    with pytest.raises(AssertionError):
        Box((1, 0, 0), (0, 1, 1))


def test_blocks_travel_to_other_processes():
    block = Block(3, Box((2, 0, 0), (4, 4, 4)), Box((1, 0, 0), (4, 4, 4)))
    assert pickle.loads(pickle.dumps(block)) == block


@given(grids, boxes())
def test_touching_finds_every_block_that_shares_voxels_with_the_box(grid, box):
    inside = box.intersect(Box.whole(grid.shape))
    if inside is None:
        return
    expected = {b.write: b.write.intersect(inside) for b in grid if b.write.intersect(inside)}
    assert {cell: shared for _, cell, shared in grid.touching(inside)} == expected
    for position, cell, _ in grid.touching(inside):
        assert cell.start == tuple(p * b for p, b in zip(position, grid.block, strict=True))
