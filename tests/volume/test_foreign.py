"""Volumes of other writers: zarr v2 and v3, OME-Zarr 0.4 and 0.5, with time and channel axes."""

import json

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.units import Spacing
from xctvol.volume import halve_labels, open_volume
from xctvol.volume.array import ShardedArray, open_array

VOXELS = np.random.default_rng(0).integers(0, 60000, (7, 20, 30)).astype("u2")


def write_array(path, voxels, zarr_format):
    chunks = (1,) * (voxels.ndim - 3) + (3, 8, 16)
    array = zarr.create_array(
        path, shape=voxels.shape, dtype=voxels.dtype, chunks=chunks, zarr_format=zarr_format
    )
    array[...] = voxels


def write_image(path, voxels, version, names, scale, **more):
    """An image of one level as other programs write it."""
    zarr_format = {"0.4": 2, "0.5": 3}[version]
    write_array(path / "0", voxels, zarr_format)
    axes = [
        {"name": n, "type": "space", "unit": "millimeter"} if n in "zyx" else {"name": n}
        for n in names
    ]
    steps = [{"type": "scale", "scale": scale}]
    image = {
        "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}], **more
    }  # fmt: skip  # one image
    if version == "0.4":
        (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    else:
        group = {"zarr_format": 3, "node_type": "group"}
        ome = {"ome": {"version": "0.5", "multiscales": [image]}}
        (path / "zarr.json").write_text(json.dumps({**group, "attributes": ome}))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("names", ["zyx", "czyx", "tczyx"])
def test_time_and_channel_of_one_entry_are_left_out(tmp_path, version, names):
    extra = len(names) - 3
    voxels = VOXELS.reshape((1,) * extra + VOXELS.shape)
    write_image(tmp_path / "v", voxels, version, names, [1] * extra + [0.003, 0.002, 0.001])
    volume = open_volume(tmp_path / "v")
    assert volume.spacing == Spacing(3, 2, 1)
    assert volume.shape == VOXELS.shape
    box = Box((1, 2, 3), (6, 20, 25))
    np.testing.assert_array_equal(volume.read(box), VOXELS[box.slices])


def test_a_scale_for_all_levels_counts(tmp_path):
    common = [{"type": "scale", "scale": [10, 100, 1000]}]
    write_image(tmp_path / "v", VOXELS, "0.4", "zyx", [0.003] * 3, coordinateTransformations=common)
    assert open_volume(tmp_path / "v").spacing == Spacing(30, 300, 3000)


def test_an_image_without_a_voxel_size_is_refused(tmp_path):
    write_image(tmp_path / "v", VOXELS, "0.5", "zyx", [1, 1, 1])
    document = tmp_path / "v" / "zarr.json"
    document.write_text(document.read_text().replace('"scale"', '"translation"'))
    with pytest.raises(InputError, match="does not say its voxel size"):
        open_volume(tmp_path / "v")


@pytest.mark.parametrize(
    ("names", "scale", "why"),
    [
        ("xyz", [1, 1, 1], "the axes x, y, z"),
        ("qzyx", [1, 1, 1, 1], "the axes q, z, y, x"),
        ("zyx", [1, 1], "damaged"),
        ("zyx", None, "damaged"),
    ],
)
def test_axes_and_scales_that_are_none_are_refused(tmp_path, names, scale, why):
    voxels = VOXELS.reshape((1,) * (len(names) - 3) + VOXELS.shape)
    write_image(tmp_path / "v", voxels, "0.5", names, scale)
    with pytest.raises(InputError, match=why):
        open_volume(tmp_path / "v")


@pytest.mark.parametrize("name", ["default", "v2"])
@pytest.mark.parametrize("separator", ["/", "."])
def test_shards_are_found_by_the_names_that_the_array_gives_them(tmp_path, name, separator):
    zarr.create_array(
        tmp_path / "a",
        data=VOXELS,
        chunks=(2, 4, 8),
        shards=(4, 8, 16),
        compressors=None,
        chunk_key_encoding={"name": name, "separator": separator},
        zarr_format=3,
    )
    array = open_array(tmp_path / "a")
    out = np.zeros(VOXELS.shape, array.dtype)
    array.read_into(Box.whole(VOXELS.shape), out)
    np.testing.assert_array_equal(out, VOXELS)
    assert isinstance(array, ShardedArray) == (name == "default" and separator == "/")


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4", "<u2"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_voxels_come_in_native_byte_order(tmp_path, dtype, zarr_format):
    voxels = VOXELS.astype(dtype)
    if zarr_format == 2:
        array = zarr.create_array(tmp_path / "a", data=voxels, chunks=(3, 8, 16), zarr_format=2)
        assert array.dtype == np.dtype(dtype)
    else:
        serializer = BytesCodec(endian="big" if dtype[0] == ">" else "little")
        zarr.create_array(tmp_path / "a", data=voxels, chunks=(3, 8, 16), serializer=serializer)
    array = open_array(tmp_path / "a")
    assert array.dtype.isnative
    out = np.zeros(VOXELS.shape, array.dtype)
    array.read_into(Box.whole(VOXELS.shape), out)
    np.testing.assert_array_equal(out, voxels)


def test_labels_of_another_byte_order_halve_to_labels(tmp_path):
    labels = np.random.default_rng(0).integers(1, 4, (4, 5, 6)).astype(">u2")
    labels = labels.repeat(2, axis=0).repeat(4, axis=1).repeat(5, axis=2)  # many cells of one label
    zarr.create_array(tmp_path / "a", data=labels, chunks=(3, 8, 16), zarr_format=2)
    array = open_array(tmp_path / "a")
    read = np.empty(array.shape, array.dtype)
    array.read_into(Box.whole(array.shape), read)
    np.testing.assert_array_equal(halve_labels(read), halve_labels(labels.astype("u2")))
    assert halve_labels(read).max() == 3


@pytest.mark.parametrize("dtype", ["longdouble", "complex64", "S3"])
def test_voxels_that_are_no_numbers_of_64_bits_are_refused(tmp_path, dtype):
    document = {
        "zarr_format": 2, "shape": [2, 3, 4], "chunks": [2, 3, 4], "dtype": np.dtype(dtype).str,
        "compressor": None, "fill_value": None, "order": "C", "filters": None,
    }  # fmt: skip  # the array of another program
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".zarray").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"numbers of at most 64 bits|cannot open") as caught:
        open_array(tmp_path / "a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_of_several_channels_or_two_axes_are_refused(tmp_path, zarr_format):
    write_array(tmp_path / "c", np.stack([VOXELS, VOXELS]), zarr_format)
    with pytest.raises(InputError, match=r"holds 4 axes of uint16 \(2 x 7 x 20 x 30\)"):
        open_array(tmp_path / "c")
    zarr.create_array(tmp_path / "p", shape=(5, 6), dtype="u1", zarr_format=zarr_format)
    with pytest.raises(InputError, match="holds 2 axes of uint8"):
        open_array(tmp_path / "p")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_other_voxels_are_another_volume(tmp_path, version):
    """What was made of a volume is not taken for what would be made of it now."""
    write_image(tmp_path / "v", VOXELS, version, "zyx", [1, 1, 1])
    before = open_volume(tmp_path / "v").digest
    (tmp_path / "v/labels/cells").mkdir(parents=True)
    (tmp_path / "v/labels/cells/zarr.json").write_text("{}")
    assert open_volume(tmp_path / "v").digest == before, "labels come and go"
    zarr.open_array(tmp_path / "v/0", mode="r+")[3, 4, 5] += 1
    assert open_volume(tmp_path / "v").digest != before
