import json
import pickle

import numpy as np
import pytest
import zarr

from xctvol.errors import InputError
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.units import Spacing

VOLUME = np.random.default_rng(1).integers(0, 60000, (12, 16, 20)).astype("u2")


def write_array(path, voxels, zarr_format, order="<"):
    array = zarr.create_array(
        path,
        shape=voxels.shape,
        dtype=voxels.dtype.newbyteorder(order),
        chunks=(1,) * (voxels.ndim - 3) + (5, 8, 8),
        zarr_format=zarr_format,
    )
    array[...] = voxels


def write_ome(path, voxels, unit):
    """An OME-Zarr 0.4 with axes t, c, z, y, x, as most converters of microscope files write it."""
    write_array(path / "0", voxels[None, None], 2)
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", **unit} for n in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 3, 2, 1]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    (path / ".zgroup").write_text('{"zarr_format": 2}')


@pytest.mark.parametrize(("zarr_format", "order"), [(2, "<"), (2, ">"), (3, "<")])
def test_single_arrays(tmp_path, read, zarr_format, order):
    write_array(tmp_path / "a", VOLUME, zarr_format, order)
    source = pickle.loads(pickle.dumps(open_source(tmp_path / "a")))
    assert (source.dtype.isnative, source.spacing) == (True, None)
    np.testing.assert_array_equal(read(source), VOLUME)
    write_array(tmp_path / "tc", VOLUME[None, None], zarr_format)
    np.testing.assert_array_equal(read(open_source(tmp_path / "tc")), VOLUME)


def test_our_own_volumes(tmp_path, read):
    np.save(tmp_path / "v.npy", VOLUME)
    scan = open_source(tmp_path / "v.npy", spacing=Spacing(3, 2, 1))
    convert(scan, tmp_path / "v.zarr").run()
    source = open_source(str(tmp_path / "v.zarr"))
    assert source.spacing == Spacing(3, 2, 1)
    assert "OME-Zarr metadata of v.zarr" in "\n".join(source.summary())
    np.testing.assert_array_equal(read(source), VOLUME)


@pytest.mark.parametrize(
    ("unit", "spacing", "origin"),
    [
        ({"unit": "millimeter"}, Spacing(3000, 2000, 1000), "OME-Zarr metadata of v"),
        ({}, Spacing(3, 2, 1), "OME-Zarr metadata of v; taken to be in um"),
    ],
)
def test_images_of_other_programs(tmp_path, read, unit, spacing, origin):
    write_ome(tmp_path / "v", VOLUME, unit)
    source = open_source(tmp_path / "v")
    assert (source.spacing, source.spacing_origin) == (spacing, origin)
    np.testing.assert_array_equal(read(source), VOLUME)
    given = open_source(tmp_path / "v", spacing=Spacing(9, 9, 9))
    assert (given.spacing, given.spacing_origin) == (Spacing(9, 9, 9), "given")


def test_the_identity_changes_with_a_chunk(tmp_path):
    write_array(tmp_path / "a", VOLUME, 3)
    source = open_source(tmp_path / "a")
    before = source.identity()
    assert open_source(tmp_path / "a").identity() == before
    zarr.open_array(tmp_path / "a")[0, 0, 0] = 7
    assert source.identity() != before


def test_groups_say_what_they_hold(tmp_path, read):
    zarr.create_group(tmp_path / "g", zarr_format=3)
    write_array(tmp_path / "g" / "first", VOLUME, 3)
    write_array(tmp_path / "g" / "second", VOLUME, 3)
    with pytest.raises(InputError, match=r"holds first, second: .* or open .*first"):
        open_source(tmp_path / "g")
    for dataset in ("second", "/second/"):
        np.testing.assert_array_equal(read(open_source(tmp_path / "g", dataset=dataset)), VOLUME)
    with pytest.raises(InputError, match=r"third is not there; .* holds first, second"):
        open_source(tmp_path / "g", dataset="third")
    zarr.create_group(tmp_path / "none", zarr_format=2)
    with pytest.raises(InputError, match="not a volume"):
        open_source(tmp_path / "none")


@pytest.mark.parametrize(
    ("shape", "dtype", "why"),
    [
        ((2, 12, 16, 20), "u2", "2 x 12 x 16 x 20"),
        ((16, 20), "u2", "16 x 20"),
        ((12, 16, 20), "c8", "complex64"),
        ((12, 16, 20), "?", "holds bool"),
        ((10**9, 10**9, 10**9), "u2", "impossible shape"),
    ],
)
def test_arrays_that_are_no_scans(tmp_path, shape, dtype, why):
    zarr.create_array(tmp_path / "a", shape=shape, dtype=dtype, chunks=(1,) * len(shape))
    with pytest.raises(InputError, match=why):
        open_source(tmp_path / "a")


def test_damaged_metadata_and_chunks(tmp_path, read):
    write_array(tmp_path / "a", VOLUME, 3)
    source = open_source(tmp_path / "a")
    for chunk in (tmp_path / "a" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot read"):
        read(source)
    for text in ("", "{", "[]", "{}", '{"node_type": "array"}', '{"node_type": "group"}'):
        (tmp_path / "a" / "zarr.json").write_text(text)
        with pytest.raises(InputError):
            open_source(tmp_path / "a")
