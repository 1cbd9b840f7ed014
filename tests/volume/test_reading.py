"""What reading takes beside its voxels, as far as that is known before: of arrays of others."""

import numpy as np
import pytest
import zarr
import zarr.codecs

from xctvol.grid import Box
from xctvol.units import Spacing
from xctvol.volume import Codec, Image, open_volume
from xctvol.volume.array import ZarrArray, open_array
from xctvol.volume.reading import _LIBRARY_BYTES, reading_bytes

SHAPE = (60, 50, 40)
GZIP = zarr.codecs.GzipCodec()


def foreign(path, chunks, **more):
    zarr.create_array(path, shape=SHAPE, dtype="u2", chunks=chunks, **more)
    array = open_array(path)
    assert isinstance(array, ZarrArray)
    return array


def test_reading_arrays_of_our_own_takes_nothing_more(tmp_path):
    image = Image(tmp_path / "a.zarr", SHAPE, np.dtype("u2"), Codec("zstd"))
    image.finish(Spacing(1, 1, 1), {}, {})
    array = open_volume(image.path).levels[0]
    assert reading_bytes(array, [Box.whole(SHAPE)]) == 0


@pytest.mark.parametrize(
    ("chunk", "box", "chunks"),
    [
        ((60, 50, 40), Box((7, 0, 0), (8, 50, 40)), 1),
        ((20, 50, 40), Box((10, 0, 0), (30, 50, 40)), 2),
        ((20, 25, 20), Box((20, 0, 0), (40, 50, 40)), 4),
        ((10, 10, 10), Box((0, 0, 0), (60, 50, 40)), 10),  # as many as are under way at once
    ],
)
def test_chunks_under_way_are_held_whole(tmp_path, chunk, box, chunks):
    array = foreign(tmp_path / "a", chunk)
    expected = 2 * box.size + 3 * chunks * 2 * np.prod(chunk) + _LIBRARY_BYTES
    assert reading_bytes(array, [box]) == expected
    assert reading_bytes(array, [Box((0, 0, 0), (1, 1, 1)), box]) == expected


def test_what_is_wanted_of_a_shard_is_held_as_stored_and_as_decoded(tmp_path):
    box = Box((0, 0, 0), (20, 50, 40))
    alone = reading_bytes(foreign(tmp_path / "a", (5, 10, 10)), [box])
    shards = {"shards": (60, 50, 40), "compressors": GZIP}
    together = reading_bytes(foreign(tmp_path / "b", (5, 10, 10), **shards), [box])
    assert together == alone + 2 * 2 * box.size


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_leading_axes_do_not_matter(tmp_path, zarr_format):
    zarr.create_array(
        tmp_path / "a", shape=(1, *SHAPE), dtype="u2", chunks=(1, 20, 50, 40),
        zarr_format=zarr_format,
    )  # fmt: skip  # one array
    array = open_array(tmp_path / "a")
    box = Box((0, 0, 0), (20, 50, 40))
    assert reading_bytes(array, [box]) == (2 + 3 * 2) * box.size + _LIBRARY_BYTES
