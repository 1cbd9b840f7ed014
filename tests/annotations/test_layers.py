"""Layers: what a folder of annotations may hold, and which layer is seen."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from roifile import ROI_TYPE, ImagejRoi, roiwrite

from xctvol.annotations import IGNORE
from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.pairs import open_pairs

SIZE = (20, 30)
LEAF = Materials.from_json(
    [
        {"name": "mesophyll", "mask": 0},
        {"name": "vein", "mask": 220},
        {"name": "air", "mask": 255},
    ]
)


@pytest.fixture
def folder(tmp_path):
    """Three images of noise; layers are added by the tests."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for z in (1, 2, 10):
        tifffile.imwrite(tmp_path / "images" / f"s{z}.tif", rng.integers(0, 255, SIZE, np.uint8))
    return tmp_path


def save_masks(folder, pixels, names=("s1", "s2", "s10")):
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        Image.fromarray(pixels).save(folder / f"{name}.png")


def square(name, start, stop, position=0):
    corners = [(start, start), (stop, start), (stop, stop), (start, stop)]
    roi = ImagejRoi.frompoints(np.array(corners, np.int32), name=name)
    roi.roitype, roi.position = ROI_TYPE.POLYGON, position
    return roi


def read(folder, materials=LEAF):
    pairs = open_pairs(folder, materials)
    pairs.check()
    return {pair.name: pair.read(materials).indices for pair in pairs}


def test_air_of_imagej_over_tissues_of_cvat(folder):
    """As in the paper: 0 is mesophyll among the tissues, but says nothing in the mask of air."""
    shape = '<polygon label="vein" points="4,4;9,4;9,9;4,9"/>'
    images = [f'<image name="s{z}.tif" width="30" height="20">{shape}</image>' for z in (1, 2, 10)]
    (folder / "tissues").mkdir()
    (folder / "tissues" / "annotations.xml").write_text(
        f"<annotations>{''.join(images)}</annotations>"
    )
    air = np.zeros(SIZE, np.uint8)
    air[7:12, 7:12] = 255
    save_masks(folder / "air", air)
    (folder / "layers.toml").write_text(
        '[[layer]]\nfolder = "tissues"\nelsewhere = "mesophyll"\n'
        '[[layer]]\nfolder = "air"\nignore = 0\n'
    )
    expected = np.zeros(SIZE)
    expected[4:9, 4:9], expected[7:12, 7:12] = 1, 2
    assert all(np.array_equal(found, expected) for found in read(folder).values())


def test_without_elsewhere_what_is_not_drawn_is_not_annotated(folder):
    (folder / "masks").mkdir()
    rois = [square(f"vein-{position}", 2, 5, position) for position in (1, 2, 3)]
    roiwrite(folder / "masks" / "RoiSet.zip", [*rois, square("air", 8, 9, 3)])
    found = read(folder)
    assert [(i == IGNORE).sum() for i in found.values()] == [600 - 9, 600 - 9, 600 - 10]
    assert found["s10"][8, 8] == 2  # slice 3 is the third image in natural order


def test_ignore_of_the_materials_counts_in_every_layer(folder):
    marks = np.full(SIZE, 9, np.uint8)
    marks[3], marks[5] = 0, 220
    save_masks(folder / "masks", marks)
    materials = Materials.from_json(LEAF.to_json(), 9)
    expected = np.full(SIZE, IGNORE)
    expected[3], expected[5] = 0, 1
    assert np.array_equal(read(folder, materials)["s1"], expected)
    (pair, *_) = open_pairs(folder, materials)
    assert pair.check(materials).pixels == (30, 30, 0)
    with pytest.raises(InputError, match=r"s1\.png: 1 value belongs to no material .*: 9 \(540\)"):
        read(folder)


def test_an_archive_named_like_an_image_is_its_annotation(folder):
    save_masks(folder / "masks", np.zeros(SIZE, np.uint8), ("s1", "s10"))
    roiwrite(folder / "masks" / "s2.zip", [square("vein", 2, 5, 40)])
    found = read(folder)
    assert (found["s2"] == 1).sum() == 9
    assert (found["s1"] == 0).all()


def test_changed_rules_make_other_pairs(folder):
    save_masks(folder / "masks", np.zeros(SIZE, np.uint8))
    before = open_pairs(folder, LEAF).identity()
    rules = '[[layer]]\nfolder = "masks"\n'
    (folder / "layers.toml").write_text(f"{rules}ignore = 0\nelsewhere = 'air'\n")
    changed = open_pairs(folder, LEAF).identity()
    (folder / "layers.toml").write_text(f"{rules}ignore = 0\nelsewhere = 'vein'\n")
    assert len({str(i) for i in (before, changed, open_pairs(folder, LEAF).identity())}) == 3


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("", "lists no layers"),
        ("x = ", "cannot read the layers"),
        ("layers = 3", "lists no layers"),
        ("[[layer]]\nname = 'a'", "a layer needs the name of its folder"),
        ("[[layer]]\nfolder = '../a'", r"'\.\./a' does not lie beside images/"),
        ("[[layer]]\nfolder = '/a'", "does not lie beside"),
        ("[[layer]]\nfolder = 'air'", "air does not exist; annotations lie in masks/"),
        ("[[layer]]\nfolder = 'masks'\nover = 1", "'over' of layer 'masks' makes no sense"),
        ("[[layer]]\nfolder = 'masks'\nelsewhere = 1", "'elsewhere' of layer"),
        ("[[layer]]\nfolder = 'masks'\nignore = 'x'", "ignore: 'x' is not a mask value"),
        ("[[layer]]\nfolder = 'masks'\nelsewhere = 'x'", "'x' is none of the materials"),
    ],
)
def test_rules_that_make_no_sense(folder, rules, message):
    save_masks(folder / "masks", np.zeros(SIZE, np.uint8))
    (folder / "layers.toml").write_text(rules)
    with pytest.raises(InputError, match=message):
        read(folder)


def beyond(masks):
    roiwrite(masks / "RoiSet.zip", [square("vein", 2, 5, 4)])


def two_sets(masks):
    beyond(masks)
    (masks / "annotations.xml").write_text("<annotations/>")


def nothing_on_the_second(masks):
    roiwrite(masks / "RoiSet.zip", [square(f"vein-{z}", 2, 5, z) for z in (1, 3)])


def one_image_too_few(masks):
    image = '<image name="s1.tif" width="30" height="20"><tag label="x"/></image>'
    (masks / "annotations.xml").write_text(f"<annotations>{image}</annotations>")


def same_names(masks):
    image = '<image name="{}/s1.tif" width="30" height="20"><tag label="x"/></image>'
    images = image.format("a") + image.format("b")
    (masks / "annotations.xml").write_text(f"<annotations>{images}</annotations>")


def no_segmentation(masks):
    (masks / "labelmap.txt").write_text("a:1,2,3::")


def only_pictures(masks):
    (masks / "s1.jpg").write_bytes(b"x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (beyond, r"RoiSet\.zip: outlines lie on slice 4 but there are 3 images; .* slice 1 is s1"),
        (two_sets, r"holds annotations\.xml, RoiSet\.zip, each with annotations of many images"),
        (nothing_on_the_second, r"s2\.tif: nothing in .*RoiSet\.zip shows a material on it"),
        (one_image_too_few, r"no mask for s2\.tif, s10\.tif"),
        (same_names, "has two images of the name 's1'"),
        (no_segmentation, "holds no TIFF or PNG file"),
        (only_pictures, r"holds no TIFF or PNG file nor outlines, only \.jpg"),
    ],
)
def test_folders_that_do_not_fit(folder, make, message):
    (folder / "masks").mkdir()
    make(folder / "masks")
    with pytest.raises(InputError, match=message):
        read(folder)


def test_a_segmentation_mask_export_is_read_as_unpacked(folder):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[2:4] = (1, 2, 3)
    save_masks(folder / "masks" / "SegmentationClass", pixels)
    save_masks(folder / "masks" / "SegmentationObject", pixels)
    (folder / "masks" / "labelmap.txt").write_text("background:0,0,0::\nvein:1,2,3::\n")
    assert (read(folder)["s10"] == 1).sum() == 60


def test_real_sparse_marks_in_palette_colors(real_data, tmp_path):
    """0 is unlabelled, and grey in the palette; the marks 1 and 2 are cyan and magenta."""
    for name in ("carbon", "glass"):
        for kind, suffix in (("images", ""), ("masks", "_labels")):
            (tmp_path / kind).mkdir(exist_ok=True)
            source = real_data("annotations", "sparse_scribbles", f"{name}{suffix}.png")
            (tmp_path / kind / f"{name}.png").symlink_to(source)
    marks = [{"name": "one", "mask": [0, 255, 255]}, {"name": "two", "mask": [255, 0, 255]}]
    found = read(tmp_path, Materials.from_json(marks, 128))
    stored = Materials.from_json([{"name": "one", "mask": 1}, {"name": "two", "mask": 2}], 0)
    for name, indices in found.items():
        palette = np.asarray(Image.open(tmp_path / "masks" / f"{name}.png"))
        assert np.array_equal(indices, np.array([IGNORE, 0, 1])[palette])
        assert np.array_equal(indices, read(tmp_path, stored)[name])
    with pytest.raises(InputError, match=r"carbon\.png: 1 value .*: \[128, 128, 128\] \(119714\)"):
        read(tmp_path, Materials.from_json(marks))


def test_a_real_mask_of_air_over_real_tissues(real_data, tmp_path):
    stem = real_data("leaf_slice") / "C_I_12_Strip1_00"
    for kind, name in (("images", "b_paganin"), ("masks", "d_labelled"), ("air", "c_binary")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "leaf.png").symlink_to(f"{stem}{name}-slice0440.png")
    values = (0, 85, 128, 152, 170, 255)
    leaf = Materials.from_json([{"name": f"tissue {v}", "mask": v} for v in values])
    (tmp_path / "layers.toml").write_text(
        '[[layer]]\nfolder = "masks"\n[[layer]]\nfolder = "air"\nignore = 0\n'
    )
    tissues, air = (np.asarray(Image.open(tmp_path / k / "leaf.png")) for k in ("masks", "air"))
    assert np.unique(air).tolist() == [0, 255]
    expected = np.where(air == 255, 255, tissues)
    assert np.array_equal(np.array(values)[read(tmp_path, leaf)["leaf"]], expected)
