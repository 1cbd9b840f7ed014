import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image

from xctvol.materials import Materials
from xctvol.stages.report.images import display_range, grey_image, overlay_image, to_data_uri

NAMES = {"epidermis": "#1b5e20", "mesophyll": "#8bc34a", "air": "#ffffff", "vein <&$x$>": "#6d4c41"}
MATERIALS = Materials.from_json(
    [{"name": n, "mask": i, "color": c} for i, (n, c) in enumerate(NAMES.items())]
)


def decoded(uri):
    kind, _, payload = uri.partition(",")
    assert kind == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(payload)))
    return np.asarray(image.convert("RGBA"))  # the encoder leaves out an alpha that is 255 all over


@settings(deadline=None)  # the first picture loads the encoder
@given(arrays.arrays(np.uint8, (5, 7)))
def test_overlay_pixels_are_the_colors_of_materials_also_after_compression(labels):
    image = overlay_image(labels, MATERIALS)
    colors = {m.label: (*m.rgb, 255) for m in MATERIALS}
    expected = [[colors.get(int(v), (0, 0, 0, 0)) for v in row] for row in labels]
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(decoded(to_data_uri(image)), expected)


def test_labels_of_any_integer_type_have_an_overlay():
    labels = np.array([[0, 1, 70_000]], np.uint32)
    assert overlay_image(labels, MATERIALS)[..., 3].tolist() == [[0, 255, 0]]


def test_grey_survives_compression_nearly():
    smooth = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (64, 1))
    image = decoded(to_data_uri(smooth))[..., 0]
    assert np.abs(image.astype(int) - smooth).mean() < 2


def test_bytes_are_shown_as_they_are():
    plane = np.arange(256, dtype=np.uint8).reshape(16, 16)
    low, high = display_range([plane[:2], plane])
    np.testing.assert_array_equal(grey_image(plane, low, high), plane)


def test_other_types_are_shown_in_one_range_without_the_rarest_values():
    common = np.linspace(100, 300, 10_000).reshape(100, 100)
    rare = np.full((1, 10), 60_000.0)
    low, high = display_range([common.astype(np.uint16), rare.astype(np.uint16)])
    assert (low, high) == pytest.approx((100, 300), abs=2)
    shown = grey_image(np.array([[0, 100, 200, 300, 60_000]], np.uint16), low, high)
    assert shown.tolist()[0] == pytest.approx([0, 0, 127, 255, 255], abs=3)


def test_a_plane_of_one_value_or_of_none_is_still_a_picture():
    for plane in (np.full((4, 4), 7, np.uint16), np.full((4, 4), np.nan, np.float32)):
        low, high = display_range([plane])
        assert grey_image(plane, low, high).max() == 0


def test_missing_values_are_black():
    assert grey_image(np.array([[np.nan, np.inf, -np.inf, 1]]), 0, 2).tolist() == [[0, 255, 0, 128]]
