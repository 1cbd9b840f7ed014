"""Shards that are gone, or changed but can be decoded: no voxel of theirs is taken for real."""

import numpy as np
import pytest

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.units import Spacing
from xctvol.volume import Checksums, Codec, Image, array, halve_grey, open_volume

SHAPE = (130, 300, 300)
WHOLE = Box.whole(SHAPE)


@pytest.fixture
def scan(tmp_path):
    """A volume of three slabs, the second all zeros, stored without compression."""
    voxels = np.random.default_rng(0).integers(1, 200, SHAPE).astype(np.uint8)
    voxels[64:128] = 0
    image = Image(tmp_path / "a.zarr", SHAPE, voxels.dtype, Codec("none"))
    parts = [
        (image.write(block.write.start[0], voxels[block.write.slices], halve_grey), ())
        for block in image.layout.slabs
    ]
    image.finish(Spacing(1, 1, 1), {}, {}, Checksums.joined(parts))
    return image.path, voxels


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_shard_of_zeros_is_not_stored_and_not_missed(scan):
    path, voxels = scan
    assert not (path / "0/c/1/0/0").exists()
    np.testing.assert_array_equal(open_volume(path).read(WHOLE), voxels)


@pytest.mark.parametrize("box", [WHOLE, Box((3, 4, 5), (4, 5, 6))])
def test_a_shard_that_is_gone_is_named(scan, box):
    path, _ = scan
    (path / "0/c/0/0/0").unlink()
    with pytest.raises(InputError, match=r"0/c/0/0/0 is missing, and is not one of zeros"):
        open_volume(path).read(box)
    assert open_volume(path).read(Box((64, 0, 0), SHAPE)).any()


def test_a_changed_byte_is_named_where_much_of_a_shard_is_read(scan):
    path, voxels = scan
    opened = open_volume(path)
    np.testing.assert_array_equal(opened.read(WHOLE), voxels)
    flip(path / "0/c/2/0/0", 7)
    with pytest.raises(InputError, match=r"0/c/2/0/0 is damaged: it is not what was written"):
        opened.read(WHOLE)
    np.testing.assert_array_equal(opened.read(Box((0, 0, 0), (128, 300, 300))), voxels[:128])


def test_each_shard_is_compared_once(scan, monkeypatch):
    path, _ = scan
    opened, seen = open_volume(path), []
    compare = array.shard_checksum
    monkeypatch.setattr(array, "shard_checksum", lambda p: seen.append(p) or compare(p))
    for _ in range(2):
        opened.read(WHOLE)
    assert len(seen) == len({*seen}) == 2
