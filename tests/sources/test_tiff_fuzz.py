"""Damaged TIFF headers: an InputError in a line, or an array of the shape that was opened.

Never another exception, a hang, or more memory than the file could need.
"""

import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.sources import open_source
from xctvol.sources.tiff.structure import directories

_SLOWEST_S = 10.0  # of processor time, which a busy machine does not add to
_DENSEST, _HARMLESS_BYTES = 100, 1 << 26

VOLUME = (np.random.default_rng(0).integers(0, 100, (3, 37, 45)) * 150).astype("u2")
LAYOUTS = (
    {},
    {"rowsperstrip": 7},
    {"tile": (16, 16)},
    {"compression": "lzw", "predictor": 2},
    {"compression": "zlib", "rowsperstrip": 5},
    {"compression": "zlib", "tile": (16, 16)},
    {"compression": "packbits", "dtype": "u1"},
    {"compression": "zstd"},
    {"imagej": True},
    {"ome": True},
    {"bigtiff": True},
    {"bigtiff": True, "compression": "zlib"},
)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Valid files of every layout and byte order, and the bytes that lead to their pixels."""
    path = tmp_path_factory.mktemp("whole") / "whole.tif"
    found = []
    for layout in LAYOUTS:
        for order in "<>":
            options = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}, **layout}
            volume = (
                (VOLUME >> 7).astype(options.pop("dtype", "u2")) if "dtype" in layout else VOLUME
            )
            tifffile.imwrite(path, volume, byteorder=order, **options)
            content = path.read_bytes()
            header = [*range(16)]
            for start in directories(path):
                header += range(start, min(start + 340, len(content)))
            found.append((content, header))
    return found


numbers = st.one_of(
    st.sampled_from([0, 1, 255, 65536, 2**31, 2**32 - 1]), st.integers(0, 2**32 - 1)
)


@st.composite
def damaged(draw, wholes):
    """A file of which some bytes are flipped, overwritten, swapped, cut off or added."""
    content, header = draw(st.sampled_from(wholes))
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(header))
        match draw(
            st.sampled_from(["flip", "flip", "byte", "number", "number", "swap", "cut", "add"])
        ):
            case "flip":
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "byte":
                content[place] = draw(st.integers(0, 255))
            case "number":
                order = draw(st.sampled_from("<>"))
                content[place : place + 4] = struct.pack(f"{order}I", draw(numbers))
            case "swap":
                other, count = draw(st.sampled_from(header)), draw(st.integers(1, 40))
                one, two = content[place : place + count], content[other : other + count]
                content[place : place + count], content[other : other + count] = two, one
            case "cut":
                end = draw(st.integers(4, len(content)))
                content[end:] = bytes(len(content) - end)  # later damage finds its place
                return bytes(content[:end])
            case "add":
                content += draw(st.binary(max_size=300))
    return bytes(content)


def check(path, content):
    """Open and read; the only failure is an InputError of one line that names the file."""
    path.write_bytes(content)
    allowed = _DENSEST * len(content) + _HARMLESS_BYTES
    began = time.process_time()
    tracemalloc.start()
    try:
        source = open_source(path)
        shape, itemsize = source.shape, source.dtype.itemsize
        assert shape[0] * shape[1] * shape[2] * itemsize <= allowed
        out = np.empty((1, *shape[1:]), source.dtype)
        for z in range(shape[0]):
            source.read_into(z, z + 1, out)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 - reading is the other outcome
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= allowed
    assert time.process_time() - began < _SLOWEST_S


_UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@settings(_UNHURRIED, max_examples=250)
@given(st.data())
def test_damaged_headers(tmp_path_factory, wholes, data):
    path = tmp_path_factory.getbasetemp() / "damaged.tif"
    check(path, data.draw(damaged(wholes)))


@pytest.mark.slow
@settings(_UNHURRIED, max_examples=1000)
@given(st.data())
def test_many_damaged_headers(tmp_path_factory, wholes, data):
    path = tmp_path_factory.getbasetemp() / "damaged_too.tif"
    check(path, data.draw(damaged(wholes)))


def rewritten(content, tags):
    """A little-endian classic TIFF with other values of some tags of its first page."""
    content = bytearray(content)
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        (code,) = struct.unpack_from("<H", content, place)
        if code in tags:
            struct.pack_into("<HHII", content, place, code, 4, 1, tags[code])
    return bytes(content)


WIDTH, LENGTH, ROWS_PER_STRIP, STRIP_BYTES = 256, 257, 278, 279
TILE_WIDTH, TILE_LENGTH = 322, 323


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("side", [60_000, 2**31, 2**32 - 1])
def test_pages_larger_than_their_file_can_be_are_refused(tmp_path, compression, side):
    plain = io.BytesIO()
    tifffile.imwrite(plain, np.zeros((40, 50), "u1"), compression=compression)
    tags = {WIDTH: side, LENGTH: side, ROWS_PER_STRIP: side}
    (tmp_path / "v.tif").write_bytes(rewritten(plain.getvalue(), tags))
    with pytest.raises(InputError, match=r"v\.tif"):
        check_open(tmp_path / "v.tif")


def test_tiles_larger_than_their_file_can_be_are_refused(tmp_path):
    plain = io.BytesIO()
    tifffile.imwrite(plain, np.zeros((64, 64), "u1"), tile=(32, 32), compression="zlib")
    tags = {TILE_WIDTH: 65536, TILE_LENGTH: 65536}
    (tmp_path / "v.tif").write_bytes(rewritten(plain.getvalue(), tags))
    with pytest.raises(InputError, match=r"claims 4\.3 GB of pixels, which its \d+ bytes"):
        check_open(tmp_path / "v.tif")


def test_all_pages_together_may_not_be_larger_either(tmp_path):
    """Each page here is harmless on its own: 60 MB from a few bytes."""
    path = tmp_path / "v.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(3):
            writer.write(np.zeros((40, 50), "u1"), compression="zlib", metadata=None)
    content = bytearray(path.read_bytes())
    for start in directories(path):
        tags = {WIDTH: 6000, LENGTH: 10000, ROWS_PER_STRIP: 10000}
        content = bytearray(rewritten(content[:4] + struct.pack("<I", start) + content[8:], tags))
    first = struct.pack("<I", directories(path)[0])
    path.write_bytes(content[:4] + first + content[8:])
    with pytest.raises(InputError, match=r"claims 180\.0 MB of pixels"):
        check_open(path)


def check_open(path):
    tracemalloc.start()
    try:
        open_source(path)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < _HARMLESS_BYTES
