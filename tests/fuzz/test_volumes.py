"""Hostile OME-Zarr: metadata of groups and arrays, label lists, shard indexes and chunks."""

import json
import struct

import numpy as np
import pytest
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.sources import open_source
from xctvol.stages.convert import convert, convert_labels
from xctvol.stages.verify import verify
from xctvol.units import Spacing
from xctvol.volume import open_volume
from xctvol.volume.codecs import Codec, with_checksum

EFFORT = pytest.mark.parametrize("examples", [20, pytest.param(160, marks=pytest.mark.slow)])
VOXELS = np.random.default_rng(0).integers(0, 4, (5, 140, 260)).astype(np.uint8)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    np.save(folder / "a.npy", VOXELS)
    source = open_source(folder / "a.npy", spacing=Spacing(1.0, 1.0, 1.0))
    convert(source, folder / "a.zarr", window="0,3").run()
    convert_labels(source, folder / "a.zarr/labels/tissue").run()
    listing = {"zarr_format": 3, "node_type": "group"}
    listing["attributes"] = {"ome": {"version": "0.5", "labels": ["tissue"]}}
    (folder / "a.zarr/labels/zarr.json").write_text(json.dumps(listing))
    return folder / "a.zarr"


def look(path):
    """All that other verbs ask of a volume."""
    found = open_volume(path)
    _ = (found.window, found.histogram, found.source_dtype, found.recipe, found.digest)
    for level, array in enumerate(found.levels):
        z, y, x = (min(n, 4) for n in array.shape)
        found.read(Box((0, 0, 0), (z, y, x)), level)
    return found


@pytest.mark.parametrize(
    "name", ["zarr.json", "0/zarr.json", "labels/zarr.json", "labels/tissue/zarr.json"]
)
@EFFORT
def test_metadata(volume, documents, harmless, name, examples):
    good = json.loads((volume / name).read_text())
    whole = look(volume).read(Box((0, 0, 0), (4, 4, 4)))

    def use(document):
        (volume / name).write_text(json.dumps(document))
        found = look(volume)
        if name != "0/zarr.json":  # no other one says what voxels are
            np.testing.assert_array_equal(found.read(Box((0, 0, 0), (4, 4, 4))), whole)
        open_labels(volume)
        verify(volume)

    try:
        harmless(documents(good), use, examples // 2)
    finally:
        (volume / name).write_text(json.dumps(good))


@EFFORT
def test_shards(volume, contents, harmless, examples):
    """Bytes anywhere, and entries of the index that add up: far, overlapping, huge, not there."""
    file = volume / "0/c/0/0/0"
    good = file.read_bytes()
    array = open_volume(volume).levels[0]
    count = np.prod([s // c for s, c in zip(array.shard, array.chunk, strict=True)])
    start = len(good) - 16 * int(count) - 4
    numbers = st.sampled_from([0, 1, 5, start, len(good), 2**31, 2**40, 2**63, 2**64 - 1])
    entries = st.lists(st.tuples(st.integers(0, int(count) - 1), numbers, numbers), min_size=1)

    def with_entries(changed):
        index = bytearray(good[start:-4])
        for place, offset, length in changed:
            index[16 * place : 16 * place + 16] = struct.pack("<QQ", offset, length)
        return good[:start] + with_checksum(bytes(index))

    def use(content):
        file.write_bytes(content)
        found = open_volume(volume)
        whole = found.read(Box.whole(found.shape))
        found.read(Box((0, 0, 0), (1, 1, 1)))
        if content == good:
            np.testing.assert_array_equal(whole, np.rint(VOXELS * 85.0))

    try:
        harmless(st.one_of(contents(good), entries.map(with_entries)), use, examples)
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("name", ["zstd", "lz4", "none"])
@EFFORT
def test_chunks(contents, harmless, name, examples):
    codec, out = Codec(name), np.zeros((4, 8, 16), np.uint16)
    voxels = np.arange(512, dtype=np.uint16).reshape(out.shape)
    good = bytes(codec.encode(voxels))

    def use(content):
        try:
            codec.decode(content, out)
        except (ValueError, RuntimeError):
            return
        if content == good:
            np.testing.assert_array_equal(out, voxels)

    harmless(contents(good), use, examples)


@pytest.mark.parametrize("name", ["zstd", "lz4", "none"])
def test_a_chunk_that_holds_less_is_damaged_not_mixed_with_another(name):
    codec, out = Codec(name), np.full(60, 9, np.uint8)
    for last in (0xA5, 0x5A, 7):
        short = np.arange(50, dtype=np.uint8)
        short[-1] = last
        with pytest.raises((ValueError, RuntimeError), match=r"fewer voxels|holds 50"):
            codec.decode(bytes(codec.encode(short)), out)
        whole = np.full(60, last, np.uint8)
        codec.decode(bytes(codec.encode(whole)), out)
        np.testing.assert_array_equal(out, whole)
    with pytest.raises((ValueError, RuntimeError)):
        codec.decode(bytes(codec.encode(out[:1])), out)  # which numpy would repeat


def test_a_frame_that_grows_without_end_fills_no_memory():
    """500 MB of the same byte in 16 KB, and no size is stated."""
    block = (1 << 1 | 131072 << 3).to_bytes(3, "little") + b"\x07"
    bomb = b"\x28\xb5\x2f\xfd\x00\x38" + block * 4000
    with pytest.raises((ValueError, RuntimeError)):
        Codec("zstd").decode(bomb, np.zeros(1000, np.uint8))


@pytest.mark.parametrize("away", ["../../b.zarr", "/etc", "a/../../b", ""])
def test_names_of_labels_cannot_leave_the_volume(volume, away):
    listing = volume / "labels/zarr.json"
    good = listing.read_text()
    listing.write_text(good.replace('"tissue"', json.dumps(away)))
    try:
        for use in (open_labels, verify):
            with pytest.raises(InputError, match="which does not lie beside it"):
                use(volume)
    finally:
        listing.write_text(good)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shape", [2**21, 2**21, 2**21], "impossible shape"),
        ("shape", [0, 140, 260], "impossible shape"),
        ("chunks", [2**12, 2**12, 2**12], r"chunks of .* at most 1 GB"),
    ],
)
def test_absurd_arrays_are_refused_unread(volume, key, value, message):
    file = volume / "0/zarr.json"
    good = file.read_text()
    document = json.loads(good)
    if key == "shape":
        document["shape"] = value
    else:
        document["chunk_grid"]["configuration"]["chunk_shape"] = value
        document["codecs"][0]["configuration"]["chunk_shape"] = value
    file.write_text(json.dumps(document))
    try:
        with pytest.raises(InputError, match=message):
            open_volume(volume)
    finally:
        file.write_text(good)
