import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.sources import crop, open_source
from xctvol.units import Spacing

VOLUME = np.random.default_rng(3).integers(0, 60000, (9, 14, 17)).astype("u2")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("crop") / "v.npy"
    np.save(path, VOLUME)
    return open_source(path, spacing=Spacing(3, 2, 1))


def ranges(length):
    return st.tuples(st.integers(0, length - 1), st.integers(1, length)).filter(
        lambda ends: ends[0] < ends[1]
    )


@settings(max_examples=60)
@given(st.tuples(*map(ranges, VOLUME.shape)), st.data())
def test_any_part_of_any_box_is_as_numpy_slices_it(scan, ends, data):
    start, stop = zip(*ends, strict=True)
    part = crop(scan, Box(start, stop))
    z0, z1 = data.draw(ranges(part.shape[0]))
    out = np.zeros((z1 - z0, *part.shape[1:]), "u2")
    part.read_into(z0, z1, out)
    np.testing.assert_array_equal(out, VOLUME[part.box.slices][z0:z1])


def test_slices_are_held_in_bounded_batches(scan, monkeypatch):
    """With room for three slices at a time, no more are read at once."""
    asked = []

    class Watched:
        def __getattr__(self, name):
            return getattr(scan, name)

        def read_into(self, z0, z1, out):
            asked.append((z0, z1))
            scan.read_into(z0, z1, out)

    monkeypatch.setattr("xctvol.sources.cropped._BATCH_BYTES", 3 * 14 * 17 * 2 + 5)
    part = crop(Watched(), Box((1, 2, 3), (9, 10, 11)))
    out = np.empty(part.shape, "u2")
    part.read_into(0, 8, out)
    np.testing.assert_array_equal(out, VOLUME[1:9, 2:10, 3:11])
    assert asked == [(1, 4), (4, 7), (7, 9)]


def test_only_files_of_the_box_are_opened(tmp_path, read):
    for n, plane in enumerate(VOLUME):
        tifffile.imwrite(tmp_path / f"{n}.tif", plane)
    part = crop(open_source(tmp_path), Box((3, 0, 0), (5, 14, 17)))
    for n in (0, 1, 2, 5, 6, 7, 8):
        (tmp_path / f"{n}.tif").unlink()
    np.testing.assert_array_equal(read(part), VOLUME[3:5])


def test_its_card(scan, read):
    part = pickle.loads(pickle.dumps(crop(scan, Box((1, 2, 3), (5, 6, 9)))))
    assert (part.shape, part.dtype, part.spacing) == ((4, 4, 6), np.uint16, Spacing(3, 2, 1))
    assert (part.spacing_origin, part.files) == ("given", scan.files)
    assert part.identity() != crop(scan, Box((1, 2, 3), (5, 6, 8))).identity()
    assert part.identity() != scan.identity()
    assert "z 1:5, y 2:6, x 3:9" in part.summary()[-1]
    nested = crop(part, Box((1, 1, 1), (2, 3, 4)))
    np.testing.assert_array_equal(read(nested), VOLUME[2:3, 3:5, 4:7])


@pytest.mark.parametrize(
    ("start", "stop"),
    [((0, 0, 0), (10, 14, 17)), ((-1, 0, 0), (2, 2, 2)), ((1, 1, 1), (1, 2, 2))],
)
def test_boxes_outside_and_empty_ones_are_refused(scan, start, stop):
    with pytest.raises(InputError, match="inside and is not empty"):
        crop(scan, Box(start, stop))
