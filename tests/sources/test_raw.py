import numpy as np
import pytest

from xctvol.errors import InputError, UsageError
from xctvol.sources import RawLayout, open_source
from xctvol.units import Spacing

VOLUME = np.random.default_rng(1).integers(0, 60000, (12, 16, 20)).astype("u2")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("offset", [0, 37])
def test_what_is_said_is_read_whatever_the_name(tmp_path, read, dtype, byteorder, offset):
    path = tmp_path / "scan_99x1x1_uint8.vol"
    stored = VOLUME.astype(np.dtype(dtype).newbyteorder({"little": "<", "big": ">"}[byteorder]))
    path.write_bytes(b"h" * offset + stored.tobytes())
    layout = RawLayout((12, 16, 20), dtype, byteorder, offset)
    source = open_source(path, raw=layout, spacing=Spacing(3, 2, 1))
    assert (source.dtype, source.dtype.isnative) == (np.dtype(dtype), True)
    assert source.spacing == Spacing(3, 2, 1)
    np.testing.assert_array_equal(read(source), stored)


@pytest.mark.parametrize(
    ("layout", "hint"),
    [
        (RawLayout((12, 16, 20), "uint8"), "with this shape it could be uint16"),
        (RawLayout((13, 16, 20), "uint16"), "it could be 12 such slices"),
        (RawLayout((12, 16, 19), "uint16"), "there could be a header: offset 384"),
        (RawLayout((12, 16, 20), "uint16", offset=100), "cut short$"),
        (RawLayout((120, 160, 201), "float64"), "cut short$"),
    ],
)
def test_another_size_is_refused_with_both_numbers_and_a_hint(tmp_path, layout, hint):
    path = tmp_path / "scan.raw"
    path.write_bytes(VOLUME.tobytes())
    wanted = np.prod(layout.shape) * np.dtype(layout.dtype).itemsize
    with pytest.raises(InputError, match=rf"has 7680 bytes, .* take {wanted};.*{hint}"):
        open_source(path, raw=layout)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 4, 4), "dtype": "uint8"},
        {"shape": (4, 4), "dtype": "uint8"},
        {"shape": (4, 4, 4), "dtype": "complex64"},
        {"shape": (4, 4, 4), "dtype": "u2"},
        {"shape": (4, 4, 4), "dtype": "uint8", "byteorder": "middle"},
        {"shape": (4, 4, 4), "dtype": "uint8", "offset": -1},
    ],
)
def test_impossible_layouts_are_refused(wrong):
    with pytest.raises(UsageError):
        RawLayout(**wrong)


def test_layouts_are_of_one_file_and_datasets_of_hdf5(tmp_path):
    layout = RawLayout((12, 16, 20), "uint16")
    with pytest.raises(UsageError, match="one file"):
        open_source([tmp_path / "a.raw"], raw=layout)
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "a.raw", raw=layout)
    np.save(tmp_path / "a.npy", VOLUME)
    with pytest.raises(UsageError, match="is npy: only HDF5 and zarr"):
        open_source(tmp_path / "a.npy", dataset="x")
