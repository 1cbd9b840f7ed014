"""Outlines of ImageJ: every type that it writes, by material and by slice."""

import io
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi, roiread, roiwrite
from skimage.draw import polygon2mask

from xctvol.annotations import IGNORE
from xctvol.annotations.imagej import Rois, positions
from xctvol.errors import InputError
from xctvol.materials import Materials

LEAF = Materials.from_json(
    [
        {"name": "epidermis", "mask": 1},
        {"name": "vein", "drawn_as": ["vein*", 3]},
        {"name": "air", "drawn_as": "pore"},
    ]
)
ANY = Materials.from_json([{"name": "thing", "drawn_as": "*"}])
SIZE = (40, 50)


def roi(name, box=(2, 3, 12, 9), **fields):
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    made = ImagejRoi.frompoints(np.array(corners, np.int32), name=name)
    made.roitype = ROI_TYPE.POLYGON
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.fixture
def saved(tmp_path):
    def save(*rois, name="RoiSet.zip"):
        roiwrite(tmp_path / name, list(rois), mode="w")
        return tmp_path / name

    return save


def test_materials_by_name_number_and_pattern(saved):
    names = ["epidermis", "epidermis-2", "vein 7", "0001-0002", "pore"]
    groups = [0, 0, 0, 3, 0]
    boxes = [(6 * i, 2, 6 * i + 4, 5) for i in range(5)]
    rois = (roi(n, b, group=g) for n, b, g in zip(names, boxes, groups, strict=True))
    indices = Rois(saved(*rois)).read(SIZE, LEAF)
    expected = np.full(SIZE, IGNORE)
    for (left, top, right, bottom), index in zip(boxes, (0, 0, 1, 1, 2), strict=True):
        expected[top:bottom, left:right] = index
    assert np.array_equal(indices, expected)


def test_later_outlines_lie_over_earlier_ones(saved):
    path = saved(
        roi("epidermis", (0, 0, 9, 9)), roi("pore", (3, 3, 5, 5)), roi("vein", (4, 4, 9, 9))
    )
    indices = Rois(path).read(SIZE, LEAF)
    assert (indices[0, 0], indices[3, 3], indices[4, 4]) == (0, 2, 1)


def test_outlines_by_slice(saved):
    on_2 = roi("pore", (0, 0, 3, 3), position=2)
    in_time = roi("vein", (4, 4, 9, 9), t_position=3, c_position=1, z_position=1)
    path = saved(on_2, in_time)
    assert positions(path) == {2, 3}
    second, third = (Rois(path, position).read(SIZE, LEAF) for position in (2, 3))
    assert ((second == 2).sum(), (second != IGNORE).sum()) == (9, 9)
    assert ((third == 1).sum(), (third != IGNORE).sum()) == (25, 25)
    assert (Rois(path, 1).read(SIZE, LEAF) == IGNORE).all()
    with pytest.raises(InputError, match=r"outlines lie on 2 slices \(2, 3"):
        Rois(path).read(SIZE, LEAF)


def test_a_single_outline_keeps_its_own_name(tmp_path):
    roi("pore").tofile(tmp_path / "leaf_0001.roi")
    assert (Rois(tmp_path / "leaf_0001.roi").read(SIZE, LEAF) == 2).sum() == 60


def with_path(values):
    made = roi("pore", (0, 0, 9, 9), roitype=ROI_TYPE.RECT, integer_coordinates=None)
    made.n_coordinates = 0
    made.multi_coordinates = np.array(values, np.float32)
    made.shape_roi_size = len(values)
    return made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (roi("cell"), r"RoiSet\.zip: the outlines 'cell' \(1\) show no material; rename them"),
        (roi("vein", (60, 3, 70, 9)), r"'vein': it lies outside the image of 50 x 40 .*x 60 to 71"),
        (roi("vein", roitype=ROI_TYPE.POLYLINE), r"the outline 'vein': it is of type polyline"),
        (roi("pore", roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT), "it is of type text"),
        (roi("pore", options=ROI_OPTIONS.SPLINE_FIT), "it is a fitted spline"),
        (roi("pore", roitype=ROI_TYPE.RECT, rounded_rect_arc_size=4), "round corners"),
        (roi("pore", roitype=ROI_TYPE.OVAL, right=2), "it has no area"),
        (with_path([0, 1, 1, 2, 3, 3, 4, 4]), "its path is curved or damaged"),
        (with_path([0, 1, 1, 1, 3]), "its path is curved or damaged"),
        (with_path([0, 1, 1, 1, np.nan, 2, 1, 4, 4]), "corners, or some that are not numbers"),
        (roi("vein", group=9), None),
        (roi("epidermis", group=3), r"'epidermis' of group 3 could be 'epidermis' and 'vein'"),
    ],
)
def test_what_shows_no_pixels_or_no_material(saved, made, message):
    if message is None:
        assert (Rois(saved(made)).read(SIZE, LEAF) == 1).any()
        return
    with pytest.raises(InputError, match=message):
        Rois(saved(made)).read(SIZE, LEAF)


def test_an_outline_on_no_slice_is_refused_where_slices_count(saved):
    with pytest.raises(InputError, match="'vein' belongs to no slice"):
        positions(saved(roi("vein")))


def test_names_cannot_escape_and_nothing_is_unpacked(tmp_path):
    path = tmp_path / "deep" / "RoiSet.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../vein.roi", roi("").tobytes())
        archive.writestr("/etc/pore.roi", roi("").tobytes())
        archive.writestr("readme.txt", b"x")
    assert (Rois(path).read(SIZE, LEAF) == 2).sum() == 60
    assert [p.name for p in tmp_path.rglob("*")] == ["deep", "RoiSet.zip"]


def test_archives_that_would_fill_the_memory_are_refused_unread(tmp_path):
    path = tmp_path / "RoiSet.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vein.roi", bytes(1 << 27))
    with pytest.raises(InputError, match="claims 1 outlines of 134217728 bytes"):
        positions(path)


def test_damaged_files_are_named(tmp_path, saved):
    buffer = io.BytesIO(saved(roi("vein")).read_bytes())
    (tmp_path / "cut.zip").write_bytes(buffer.getvalue()[:-30])
    (tmp_path / "cut.roi").write_bytes(roi("vein").tobytes()[:70])
    (tmp_path / "other.roi").write_bytes(b"GIF89a" * 30)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("annotations.xml", "<annotations/>")
    for name, message in (
        ("cut.zip", r"cannot read .*cut\.zip"),
        ("cut.roi", r"cannot read .*cut\.roi"),
        ("other.roi", r"cannot read .*other\.roi"),
        ("export.zip", r"holds no outlines of ImageJ .* CVAT must be unpacked"),
        ("missing.zip", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            Rois(tmp_path / name).read(SIZE, LEAF)


@given(
    kind=st.sampled_from([ROI_TYPE.POLYGON, ROI_TYPE.OVAL, ROI_TYPE.RECT, "path"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    kept=st.floats(0.5, 1),
)
def test_whatever_bytes_a_file_holds_it_is_read_or_refused(tmp_path_factory, kind, changes, kept):
    path = tmp_path_factory.getbasetemp() / "fuzzed.roi"
    made = with_path([0, 1, 1, 1, 8, 2, 1, 4, 9, 4]) if kind == "path" else roi("pore")
    data = bytearray(made.tobytes())
    if kind != "path":
        data[6] = kind
    for where, value in changes:
        data[min(int(where * len(data)), len(data) - 1)] = value
    path.write_bytes(data[: int(kept * len(data))] if kept < 0.9 else data)
    with suppress(InputError):
        assert Rois(path).read(SIZE, ANY).shape == SIZE


def by_scikit_image(rings, size):
    """Even-odd, and where the answer depends on how edges are treated."""
    inside, near = np.zeros(size, bool), np.zeros(size, bool)
    for ring in rings:
        ring = np.asarray(ring, float)[:, ::-1] - 0.5
        inside ^= polygon2mask(size, ring)
        for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            low = np.maximum(np.floor(np.minimum(start, end)).astype(int), 0)
            high = np.ceil(np.maximum(start, end)).astype(int) + 1
            window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            y, x = np.meshgrid(*(np.arange(size[i])[window[i]] for i in (0, 1)), indexing="ij")
            along = end - start
            across = np.abs(along[0] * (x - start[1]) - along[1] * (y - start[0]))
            near[window] |= across < 1e-4
    return inside, near


@pytest.fixture
def outlines(real_data):
    return lambda name: real_data("annotations", "imagej_roi", name)


@pytest.mark.parametrize(
    "name",
    [
        "composite-brush-donut", "composite-oval-in-rect", "composite-two-ellipses", "ellipse",
        "ellipse-left", "polygon", "polygon-left",
    ],
)  # fmt: skip  # a list of names
def test_real_outlines(outlines, name):
    path = outlines(f"{name}.roi")
    found = Rois(path).read((200, 210), ANY) == 0
    rings = ImagejRoi.fromfile(path).coordinates(multi=True)
    expected, near = by_scikit_image(rings, (200, 210))
    assert expected.any()
    assert np.array_equal(found[~near], expected[~near])


def test_the_hole_of_a_real_composite(outlines):
    found = Rois(outlines("composite-oval-in-rect.roi")).read((100, 110), ANY) == 0
    assert found[31:57, 49:96].sum() == found.sum()
    assert not found[44, 72]  # the middle of the oval
    assert found[32, 50]


def test_real_ovals_and_rectangles(outlines):
    oval = Rois(outlines("oval.roi")).read((200, 210), ANY) == 0
    top, left, bottom, right = 58, 97, 95, 131
    y, x = np.mgrid[:200, :210] + 0.5
    ellipse = ((y - (top + bottom) / 2) / (bottom - top) * 2) ** 2
    ellipse += ((x - (left + right) / 2) / (right - left) * 2) ** 2
    assert np.array_equal(oval, ellipse <= 1)
    rectangle = Rois(outlines("rectangle.roi")).read((200, 210), ANY) == 0
    assert rectangle[19:55, 43:86].all()
    assert rectangle.sum() == 36 * 43


@pytest.mark.parametrize("name", ["freeline", "line2"])
def test_real_lines_are_refused(outlines, name):
    with pytest.raises(InputError, match=r"it is of type (free)?line, which encloses nothing"):
        Rois(outlines(f"{name}.roi")).read((200, 210), ANY)


def test_a_real_set_of_1747_outlines_on_17_slices(real_data):
    path = real_data("annotations", "imagej_roiset_zip", "RoiSet.zip")
    assert positions(path) == set(range(208, 225))
    with pytest.raises(InputError, match=r"'0208-\d+-\d+' \(1\) show no material"):
        Rois(path, 208).read((2304, 2306), LEAF)
    rois = roiread(path)
    for position, count in ((208, 1), (222, 7)):
        of_slice = [roi for roi in rois if roi.position == position]
        assert len(of_slice) == count
        found = Rois(path, position).read((2304, 2306), ANY) == 0
        expected, near = np.zeros_like(found), np.zeros_like(found)
        for each in of_slice:
            inside, edge = by_scikit_image([each.coordinates()], found.shape)
            expected |= inside
            near |= edge
        assert expected.any()
        assert np.array_equal(found[~near], expected[~near])
