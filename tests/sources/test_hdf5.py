import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from xctvol.errors import InputError
from xctvol.sources import open_source
from xctvol.units import Spacing

VOLUME = np.random.default_rng(1).integers(0, 60000, (12, 16, 20)).astype("u2")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.h5"


def total(source):
    out = np.empty(source.shape, source.dtype)
    source.read_into(0, source.shape[0], out)
    return int(out.sum(dtype=np.int64))


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", ">f4", "<f8"])
@pytest.mark.parametrize("options", [{}, {"chunks": (5, 6, 7)}, {"compression": "gzip"}])
def test_every_dtype_and_layout(path, read, dtype, options):
    volume = (VOLUME % 251).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data", data=volume, **options)
        file["entry/angles"] = np.arange(5.0)
        file["name"] = "a scan"
    source = open_source(path)
    assert source.dtype.isnative
    assert (source.name, source.spacing) == ("entry/data", None)
    np.testing.assert_array_equal(read(source), volume)


def test_several_volumes_are_listed_and_one_is_named(path, read):
    with h5py.File(path, "w") as file:
        file["a/first"] = VOLUME
        file["b"] = VOLUME[:2].astype("f4")
        file["link"] = h5py.SoftLink("/b")
    with pytest.raises(
        InputError, match=r"a/first \(12 x 16 x 20 uint16\), b \(2 x 16 x 20 float32\)"
    ):
        open_source(path)
    for name in ("a/first", "/a/first/"):
        np.testing.assert_array_equal(read(open_source(path, dataset=name)), VOLUME)
    np.testing.assert_array_equal(read(open_source(path, dataset="link")), VOLUME[:2])
    assert open_source(path, dataset="b").identity() != open_source(path, dataset="link").identity()
    assert "dataset a/first" in open_source(path, dataset="a/first").summary()[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "dataset nothing is not there; the file holds v "),
        ("group", "is a group, not a volume"),
        ("plane", "is 3 x 4 float64, not a volume"),
        ("/", "not there"),
    ],
)
def test_names_of_no_volume(path, name, why):
    with h5py.File(path, "w") as file:
        file["v"] = VOLUME
        file["plane"] = np.zeros((3, 4))
        file.create_group("group")
    with pytest.raises(InputError, match=why):
        open_source(path, dataset=name)


@pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long doubles are doubles here")
def test_long_doubles_are_no_volume(path):
    with h5py.File(path, "w") as file:
        file["data"] = VOLUME.astype("g")
    with pytest.raises(InputError, match="no dataset of numbers along three axes"):
        open_source(path)


def test_a_file_without_volumes(path):
    with h5py.File(path, "w") as file:
        file["plane"] = np.zeros((3, 4))
        file["colors"] = np.zeros((3, 4, 5, 3))
        file["words"] = np.full((2, 2, 2), b"x")
    with pytest.raises(InputError, match="no dataset of numbers along three axes"):
        open_source(path)


def test_reconstructions_beside_projections_are_the_scan(path, read):
    with h5py.File(path, "w") as file:
        file["exchange/data"] = VOLUME
        file["exchange/theta"] = np.arange(12.0)
    with pytest.raises(InputError, match="raw projections, as theta beside it shows"):
        open_source(path)
    with h5py.File(path, "a") as file:
        file["process/recon"] = VOLUME[:5]
    np.testing.assert_array_equal(read(open_source(path)), VOLUME[:5])


def test_voxels_elsewhere_are_refused(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["v"] = VOLUME
    (tmp_path / "bytes").write_bytes(VOLUME.tobytes())
    layout = h5py.VirtualLayout(VOLUME.shape, "u2")
    layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "v", VOLUME.shape)
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink(tmp_path / "other.h5", "v")
        file["gone"] = h5py.ExternalLink(tmp_path / "none.h5", "v")
        file.create_virtual_dataset("virtual", layout)
        place = [(str(tmp_path / "bytes"), 0, VOLUME.nbytes)]
        file.create_dataset("outside", VOLUME.shape, "u2", external=place)
    for name in ("linked", "virtual", "outside"):
        with pytest.raises(InputError, match="in other files"):
            open_source(path, dataset=name)
    with pytest.raises(InputError, match="not there"):
        open_source(path, dataset="gone")


def test_what_was_never_written_is_missed(path):
    with h5py.File(path, "w") as file:
        chunked = file.create_dataset("chunked", VOLUME.shape, "u2", chunks=(4, 16, 20))
        chunked[:8] = VOLUME[:8]
        file.create_dataset("absurd", (10**6, 10**6, 10**6), "u2", chunks=(1, 1000, 1000))
        file.create_dataset("empty", VOLUME.shape, "u2")
    with pytest.raises(InputError, match="only 2 of 3 chunks"):
        open_source(path, dataset="chunked")
    with pytest.raises(InputError, match="only 0 of 1000000000000 chunks"):
        open_source(path, dataset="absurd")
    with pytest.raises(InputError, match="only 0 of 7680 bytes"):
        open_source(path, dataset="empty")


@pytest.mark.parametrize(
    ("sizes", "spacing"), [([3, 2, 1], Spacing(3, 2, 1)), ([0, 0, 0], None), ([1, 1], None)]
)
def test_element_sizes_are_voxel_sizes(path, sizes, spacing):
    with h5py.File(path, "w") as file:
        file["v"] = VOLUME
        file["v"].attrs["element_size_um"] = sizes
    assert open_source(path).spacing == spacing
    assert open_source(path, spacing=Spacing(9, 9, 9)).spacing == Spacing(9, 9, 9)


def test_sources_travel_and_serve_threads(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=VOLUME, compression="gzip", chunks=(2, 16, 20))
    source = pickle.loads(pickle.dumps(open_source(path)))
    assert source == open_source(path)
    expected = [int(VOLUME.sum(dtype=np.int64))] * 8
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(total, [source] * 8)) == expected


def test_cut_and_changed_files(path, read):
    with h5py.File(path, "w") as file:
        file["v"] = VOLUME
    source = open_source(path)
    content = path.read_bytes()
    for length in range(0, len(content), 997):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"scan\.h5"):
            open_source(path)
    with h5py.File(path, "w") as file:
        file["v"] = VOLUME[:5]
    with pytest.raises(InputError, match="now holds 5 x 16 x 20 uint16"):
        read(source)
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        read(source)


def test_damaged_chunks_are_named(path, read):
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=VOLUME, compression="gzip", fletcher32=True)
        place = file["v"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"scan\.h5, dataset v"):
        read(open_source(path))
