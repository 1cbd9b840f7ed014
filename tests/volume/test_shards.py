"""Our shards, read back by three independent zarr implementations."""

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.volume import Codec, shard_checksum
from xctvol.volume.array import ShardedArray, ZarrArray, open_array

SHARD, CHUNK = (8, 64, 64), (4, 32, 32)
SHAPE = (19, 150, 70)


def voxels(dtype, seed=0):
    rng = np.random.default_rng(seed)
    volume = rng.normal(100, 30, SHAPE).astype(dtype)
    volume[:8, :64, :64] = 0  # a shard of zeros
    volume[8:12, 64:96] = 0  # chunks of zeros
    return volume


def write(array, z0, slab):
    for shard, part in array.slab_shards(z0, slab):
        array.write_shard(shard, part)


def written(path, volume, codec="zstd"):
    array = ShardedArray(path, volume.shape, volume.dtype, SHARD, CHUNK, Codec(codec))
    for z in range(0, volume.shape[0], SHARD[0]):
        write(array, z, volume[z : z + SHARD[0]])
    array.write_metadata({})
    return array


def by_tensorstore(path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    return tensorstore.open(spec, read=True).result().read().result()


def by_zarr(path):
    return zarr.open_array(path, mode="r")[:]


def by_zarrs(path):
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return zarr.open_array(path, mode="r")[:]


@pytest.mark.parametrize("read", [by_zarr, by_zarrs, by_tensorstore])
@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_other_implementations_read_what_was_written(tmp_path, read, codec, dtype):
    volume = voxels(dtype)
    written(tmp_path / "a", volume, codec)
    np.testing.assert_array_equal(read(tmp_path / "a"), volume)


@settings(max_examples=60)
@given(st.data())
def test_any_box_reads_as_numpy_slices_it(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "boxes"
    volume = voxels("uint16")
    if not path.exists():
        written(path, volume)
    ranges = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in SHAPE]
    box = Box(tuple(r[0] for r in ranges), tuple(r[1] for r in ranges))
    out = np.full(box.shape, 7, "uint16")
    open_array(path).read_into(box, out)
    np.testing.assert_array_equal(out, volume[box.slices])


def test_a_shard_that_is_flushed_while_it_is_written_is_whole(tmp_path):
    volume = np.arange(16 * 1024 * 1024, dtype=np.uint16).reshape(16, 1024, 1024)
    shard, chunk = (16, 1024, 1024), (8, 128, 128)
    array = ShardedArray(tmp_path / "a", volume.shape, volume.dtype, shard, chunk, Codec("none"))
    ((shard, part),) = array.slab_shards(0, volume)
    crc = array.write_shard(shard, part)
    array.write_metadata({})
    assert shard_checksum(shard.path) == crc
    np.testing.assert_array_equal(by_zarr(tmp_path / "a"), volume)


def test_shards_of_zeros_are_not_stored_and_disappear_when_rewritten(tmp_path):
    volume = voxels("uint8")
    array = written(tmp_path / "a", volume)
    assert not (tmp_path / "a/c/0/0/0").exists()
    assert (tmp_path / "a/c/1/0/0").exists()
    write(array, 8, np.zeros((8, 150, 70), np.uint8))
    assert not (tmp_path / "a/c/1/0/0").exists()
    assert not by_zarr(tmp_path / "a")[8:16].any()


def test_negative_zero_is_not_mistaken_for_an_empty_chunk(tmp_path):
    volume = np.full(SHAPE, -0.0, np.float32)
    written(tmp_path / "a", volume, "lz4")
    assert np.signbit(by_zarr(tmp_path / "a")).all()


@pytest.mark.parametrize("damage", ["cut", "index", "chunk", "empty"])
def test_damaged_shards_are_named(tmp_path, damage):
    volume = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    array = written(tmp_path / "a", volume)
    shard = tmp_path / "a/c/1/1/0"
    data = bytearray(shard.read_bytes())
    if damage == "cut":
        data = data[:-9]
    elif damage == "index":
        data[-20] ^= 1
    elif damage == "chunk":
        data[0] ^= 255
    else:
        data = bytearray()
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"c/1/1/0 is damaged"):
        array.read_into(Box.whole(SHAPE), np.empty(SHAPE, np.uint8))


def test_arrays_of_other_writers_are_read_through_zarr(tmp_path):
    volume = voxels("float32")
    zarr.create_array(tmp_path / "plain", data=volume, chunks=(5, 50, 50))
    zarr.create_array(tmp_path / "v2", data=volume, chunks=(5, 50, 50), zarr_format=2)
    for name in ("plain", "v2"):
        array = open_array(tmp_path / name)
        assert isinstance(array, ZarrArray)
        box = Box((2, 3, 4), (11, 99, 70))
        out = np.empty(box.shape, "float32")
        array.read_into(box, out)
        np.testing.assert_array_equal(out, volume[box.slices])


def test_what_is_no_volume_is_refused(tmp_path):
    zarr.create_array(tmp_path / "flat", data=np.zeros((4, 4)))
    with pytest.raises(InputError, match="2 axes"):
        open_array(tmp_path / "flat")
    with pytest.raises(InputError, match="cannot open"):
        open_array(tmp_path / "nothing")
