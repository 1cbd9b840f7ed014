"""Both exports of CVAT for segmentation: colours of labels, and shapes."""

from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from PIL import Image
from skimage.draw import polygon2mask

from xctvol.annotations import IGNORE
from xctvol.annotations.cvat_masks import LabelMask
from xctvol.annotations.cvat_shapes import Shapes, annotated_images
from xctvol.errors import InputError
from xctvol.materials import Materials

BUD = Materials.from_json(
    [
        {"name": "tissue", "drawn_as": "bud"},
        {"name": "scale", "mask": 1},
        {"name": "air", "drawn_as": "air"},
    ]
)
GROUND = Materials.from_json([*BUD.to_json(), {"name": "background", "label": 9, "mask": 7}])
SIZE = (12, 16)
LABELMAP = """# label:color_rgb:parts:actions
background:0,0,0::
bud:128,0,0::
scale:0,128,0::
air:255,255,255::
vein:0,0,128::
"""


@pytest.fixture
def label_mask(tmp_path):
    def make(pixels, labelmap=LABELMAP, palette=None):
        image = Image.fromarray(pixels)
        if palette is not None:
            image.putpalette(palette)
        image.save(tmp_path / "a.png")
        (tmp_path / "labelmap.txt").write_text(labelmap)
        return LabelMask(tmp_path / "a.png", tmp_path / "labelmap.txt")

    return make


def test_colors_are_labels(label_mask):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0] = [(128, 0, 0), (0, 128, 0), (255, 255, 255)]
    mask = label_mask(pixels)
    assert mask.read((2, 3), BUD).tolist() == [[0, 1, 2], [IGNORE] * 3]
    assert mask.read((2, 3), GROUND).tolist() == [[0, 1, 2], [3] * 3]
    assert [file.name for file in mask.files] == ["a.png", "labelmap.txt"]


def test_palettes_are_colors(label_mask):
    mask = label_mask(np.array([[0, 1, 2]], np.uint8), palette=[0, 0, 0, 128, 0, 0, 0, 128, 0])
    assert mask.read((1, 3), BUD).tolist() == [[IGNORE, 0, 1]]


def test_a_label_that_is_no_material_is_named_where_it_is_used(label_mask):
    pixels = np.zeros((1, 2, 3), np.uint8)
    pixels[0, 1] = (0, 0, 128)
    with pytest.raises(InputError, match=r"\[0, 0, 128\] \(1\).*; vein of labelmap.txt show no"):
        label_mask(pixels).read((1, 2), BUD)
    with pytest.raises(InputError, match="has 2 x 1 pixels but its image has 3 x 1"):
        label_mask(pixels).read((1, 3), BUD)


@pytest.mark.parametrize("line", ["bud", "bud:1,2::", "bud:256,0,0::", "bud:a,b,c::", ":1,2,3::"])
def test_labelmaps_that_make_no_sense(label_mask, line):
    pixels = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(InputError, match=r"labelmap\.txt, line 2: .* is not label:red,green,blue"):
        label_mask(pixels, f"# label\n{line}\n").read((1, 1), BUD)


@pytest.fixture
def shapes(tmp_path):
    def make(*shapes, head="", name="a.png", size=SIZE):
        image = f'<image id="0" name={quoteattr(name)} width="{size[1]}" height="{size[0]}">'
        path = tmp_path / "annotations.xml"
        text = f"{head}<annotations><version>1.1</version>{image}{''.join(shapes)}</image>"
        path.write_text(text + '<image id="1" name="b.png" width="1" height="1"/></annotations>')
        return Shapes(path, name)

    return make


def polygon(label, corners, z_order=0):
    points = ";".join(f"{x},{y}" for x, y in corners)
    return f'<polygon label="{label}" points="{points}" occluded="0" z_order="{z_order}"/>'


def run_lengths(inside):
    """Lengths of runs over the rows, the first one outside."""
    flat = np.concatenate([[False], inside.ravel()])
    starts = np.flatnonzero(np.diff(flat.astype(int)))
    return np.diff([0, *starts, inside.size]).tolist()


def mask(label, inside, left=0, top=0, z_order=0, **other):
    height, width = inside.shape
    fields = {"left": left, "top": top, "width": width, "height": height, "z_order": z_order}
    fields |= {"rle": ", ".join(map(str, run_lengths(inside))), "label": label, **other}
    return f"<mask {' '.join(f'{key}={quoteattr(str(v))}' for key, v in fields.items())}/>"


def test_polygons_enclose_centers(shapes):
    corners = [(1.2, 0.7), (14.1, 3.3), (9.4, 11.2), (2.9, 8.6)]
    found = shapes(polygon("bud", corners)).read(SIZE, BUD)
    expected = polygon2mask(SIZE, np.array(corners)[:, ::-1] - 0.5)
    assert np.array_equal(found, np.where(expected, 0, IGNORE))


def test_shapes_lie_by_z_order_and_background_cuts_holes(shapes):
    def square(label, start, stop, z_order):
        corners = [(start, start), (stop, start), (stop, stop), (start, stop)]
        return polygon(label, corners, z_order)

    drawn = (square("background", 4, 6, 2), square("air", 2, 8, 1), square("bud", 0, 10, 0))
    expected = np.full(SIZE, IGNORE)
    expected[:10, :10], expected[2:8, 2:8], expected[4:6, 4:6] = 0, 2, IGNORE
    assert np.array_equal(shapes(*drawn).read(SIZE, BUD), expected)
    expected[4:6, 4:6] = 3
    assert np.array_equal(shapes(*drawn).read(SIZE, GROUND), expected)
    last = shapes(square("bud", 0, 4, 0), square("air", 0, 4, 0)).read(SIZE, BUD)
    assert (last[:4, :4] == 2).all()


@given(inside=npst.arrays(bool, (5, 7)))
def test_run_lengths_go_along_rows(tmp_path_factory, inside):
    folder = tmp_path_factory.mktemp("cvat")
    text = f'<annotations><image name="a" width="16" height="12">{mask("air", inside, 3, 2)}'
    (folder / "a.xml").write_text(f"{text}</image></annotations>")
    expected = np.full(SIZE, IGNORE)
    expected[2:7, 3:10][inside] = 2
    assert np.array_equal(Shapes(folder / "a.xml", "a").read(SIZE, BUD), expected)


SQUARE = np.ones((2, 2), bool)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            polygon("vein", [(0, 0), (4, 0), (4, 4)]),
            r"'a\.png': the labels 'vein' \(1\) show",
        ),
        (polygon("bud", [(90, 90), (94, 90), (94, 94)]), "'bud' lies outside the image"),
        (polygon("bud", [("nan", 0), (4, 0), (4, 4)]), "a shape is damaged: .* not numbers"),
        ('<polygon label="bud" points="1,2;x"/>', "a shape is damaged"),
        ('<polygon label="bud"/>', "a shape is damaged: KeyError"),
        (mask("bud", SQUARE, rle="0, 5"), r"'bud' of 2 x 2 pixels has runs of 5"),
        (mask("bud", SQUARE, rle="-1, 5"), "'bud' does not lie inside"),
        (mask("bud", SQUARE, left=15), "'bud' does not lie inside"),
        (mask("bud", SQUARE, width=10**9, height=10**9, rle=f"{10**18}"), "not lie inside"),
        ('<polyline label="bud" points="1,2;3,4"/>', "1 polyline: only polygons and masks"),
    ],
)
def test_shapes_that_are_refused(shapes, shape, message):
    with pytest.raises(InputError, match=message):
        shapes(shape).read(SIZE, BUD)


def test_an_export_for_images_of_another_size_is_refused(shapes):
    with pytest.raises(InputError, match="has 16 x 12 pixels but its image has 16 x 13"):
        shapes(polygon("bud", [(0, 0), (4, 0), (4, 4)])).read((13, 16), BUD)


BOMB = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
OTHER_FILE = '<!ENTITY e9 SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize(
    "head",
    [
        f'<!DOCTYPE a [<!ENTITY e0 "ha">{BOMB}]>',
        f"<!DOCTYPE a [{OTHER_FILE}]>",
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
    ],
)
def test_xml_that_defines_entities_is_refused(shapes, head):
    with pytest.raises(InputError, match=r"cannot read .*annotations\.xml as XML of CVAT: .*DTD"):
        shapes("<tag label='&e9;'/>", head=head).read(SIZE, BUD)


def test_images_without_shapes_are_not_annotated(shapes):
    path = shapes(polygon("bud", [(0, 0), (4, 0), (4, 4)]), name="deep/a.png").path
    assert annotated_images(path) == ("deep/a.png",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><track/></annotations>", "was exported for video"),
        ("<svg/>", "is not an export of CVAT"),
        ("<annotations/>", "no annotated images"),
        ("<annotations>", "cannot read"),
        ("", "cannot read"),
    ],
)
def test_other_xml(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        annotated_images(tmp_path / "a.xml")


def test_real_exports_without_areas_are_refused_with_counts(real_data):
    folder = real_data("annotations", "cvat_voc_coco_fixtures", "cvat_dataset")
    path = folder / "for_images" / "train.xml"
    assert annotated_images(path) == ("img0.jpg", "img1.jpg")
    with pytest.raises(InputError, match=r"'img0\.jpg': 1 box, 1 polyline, 1 skeleton: only poly"):
        Shapes(path, "img0.jpg").read((8, 8), BUD)
    with pytest.raises(InputError, match=r"'img1\.jpg': 1 points, 1 skeleton: only polygons"):
        Shapes(path, "img1.jpg").read((10, 10), BUD)
    with pytest.raises(InputError, match="was exported for video"):
        annotated_images(folder / "for_video" / "annotations.xml")


def test_real_masks_in_the_colors_of_cvat(real_data, tmp_path):
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    paths = sorted(real_data("annotations", "paper_bud_masks").glob("*.png"))
    assert len(paths) == 3
    for path in paths:
        found = LabelMask(path, tmp_path / "labelmap.txt").read((2560, 2560), GROUND)
        colors = np.array([(128, 0, 0), (0, 128, 0), (255, 255, 255), (0, 0, 0)], np.uint8)
        assert np.array_equal(colors[found], np.asarray(Image.open(path)))
