"""PGM images against the bytes that they were made of, and Pillow where it changes none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from xctvol.errors import InputError
from xctvol.sources import open_source
from xctvol.sources.images import read_image, read_palette

LARGEST = [1, 3, 100, 255, 256, 4095, 65535]


def pgm(samples, largest, kind="P5", head="{kind}\n{width} {height}\n{largest}\n"):
    height, width = samples.shape
    start = head.format(kind=kind, width=width, height=height, largest=largest).encode()
    if kind == "P5":
        return start + samples.astype("u1" if largest < 256 else ">u2").tobytes()
    return start + b"\n".join(b" ".join(b"%d" % n for n in row) for row in samples.tolist())


def samples_up_to(largest, shape=(7, 9)):
    return np.random.default_rng(largest).integers(0, largest, shape, endpoint=True)


@pytest.mark.parametrize("largest", LARGEST)
@pytest.mark.parametrize("kind", ["P2", "P5"])
def test_samples_come_as_they_are_stored(tmp_path, read, largest, kind):
    volume = samples_up_to(largest, (3, 7, 9))
    for n, samples in enumerate(volume):
        (tmp_path / f"{n}.pgm").write_bytes(pgm(samples, largest, kind))
    source = open_source(tmp_path)
    assert source.dtype == (np.uint8 if largest < 256 else np.uint16)
    np.testing.assert_array_equal(read(source), volume)
    image = read_image(tmp_path / "1.pgm")
    np.testing.assert_array_equal(image, volume[1])
    assert image.dtype == source.dtype
    assert read_palette(tmp_path / "1.pgm") is None
    if largest in (255, 65535):
        with Image.open(tmp_path / "1.pgm") as other:
            np.testing.assert_array_equal(image, np.asarray(other))


@given(
    samples=hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2)),
    gaps=st.lists(
        st.lists(
            st.sampled_from([" ", "\n", "\r\n", "\t", "#\n", "# 3 4\n", "#a\r"]), min_size=1
        ).map("".join),
        min_size=3,
        max_size=3,
    ),
    end=st.sampled_from([" ", "\n", "\t", "# 12-bit camera\n"]),
    kind=st.sampled_from(["P2", "P5"]),
)
def test_headers_of_any_spaces_and_comments(tmp_path_factory, samples, gaps, end, kind):
    head = "{{kind}}{}{{width}}{}{{height}}{}{{largest}}{}".format(*gaps, end)
    path = tmp_path_factory.mktemp("pgm") / "a.pgm"
    path.write_bytes(pgm(samples, 65535, kind, head))
    np.testing.assert_array_equal(read_image(path), samples)


def test_comments_among_digits(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P2 2 2 9\n1 2 # the first row 7 8\n 3\n\n4# the end")
    np.testing.assert_array_equal(read_image(path), [[1, 2], [3, 4]])


@pytest.mark.parametrize("kind", ["P2", "P5"])
@pytest.mark.parametrize("largest", [255, 4095])
def test_a_cut_file_is_refused(tmp_path, kind, largest):
    content = pgm(np.full((7, 9), largest), largest, kind)
    path = tmp_path / "a.pgm"
    for length in range(2, len(content) - 4):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"a\.pgm .*(cut short|damaged)") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"P5 0 3 255\n", "0 pixels|3 x 0 pixels"),
        (b"P5 2 2 0\n1234", "up to 0"),
        (b"P5 2 2 65536\n12345678", "up to 65536"),
        (b"P5 -2 2 255\n1234", "does not begin as a PGM image does"),
        (b"P5 999999999 999999999 255\n1234", "was cut short"),
        (b"P2 999999999 999999999 255\n1234", "was cut short"),
        (b"P2 2 2 3\n1 2 3 4", "of up to 3, and holds 4 of up to 4"),
        (b"P2 2 2 9\n1 2 3 4 5", "should hold 4 numbers .* and holds 5"),
        (b"P2 2 2 9\n1 2 -3 4", "other things than numbers"),
        (b"P2 2 2 9\n" + b"9" * 30 + b" 1 2 3", "damaged"),
        (2 * b"P5 2 2 255\n1234", "holds several images"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, why):
    path = tmp_path / "a.pgm"
    path.write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_slice_changed_after_opening_is_refused(tmp_path, read):
    path = tmp_path / "a.pgm"
    path.write_bytes(pgm(samples_up_to(255), 255))
    source = open_source(path)
    path.write_bytes(pgm(samples_up_to(4095), 4095))
    with pytest.raises(InputError, match=r"a\.pgm holds 7 x 9 pixels .* uint16, but .* uint8"):
        read(source)
