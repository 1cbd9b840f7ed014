"""Folders of pairs: complete, of one size, and read as they are."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.pairs import open_pairs

TWO = Materials.from_json([{"name": "dark", "mask": 0}, {"name": "bright", "mask": 255}])
SANDSTONE = Materials.from_json(
    [
        {"name": "pore", "mask": [0, 0, 255]},
        {"name": "quartz", "mask": [255, 0, 0]},
        {"name": "clay", "mask": [0, 255, 0]},
        {"name": "pyrite", "mask": [255, 255, 0]},
    ]
)


def write(folder, name, image, mask, suffix="tif"):
    for kind, pixels in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        if pixels is not None:
            Image.fromarray(pixels).save(folder / kind / f"{name}.{suffix}")


@pytest.fixture
def image():
    return np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture
def mask():
    return np.where(np.arange(12).reshape(3, 4) > 5, 255, 0).astype(np.uint8)


def test_pairs_stand_in_natural_order_and_are_read(tmp_path, image, mask):
    for name in ("s10", "s2", "s1"):
        write(tmp_path, name, image, mask)
    (tmp_path / "images" / ".DS_Store").write_text("x")
    (tmp_path / "images" / "notes.txt").write_text("x")
    pairs = open_pairs(tmp_path, TWO)
    assert [pair.name for pair in pairs] == ["s1", "s2", "s10"]
    annotated = pairs[0].read(TWO)
    assert np.array_equal(annotated.image, image)
    assert np.array_equal(annotated.indices, mask // 255)
    assert [fact.pixels for fact in pairs.check()] == [(6, 6)] * 3


def test_image_and_mask_may_differ_in_format(tmp_path, image, mask):
    write(tmp_path, "a", image, None, "png")
    write(tmp_path, "a", None, mask, "tif")
    assert open_pairs(tmp_path, TWO).check()[0].size == (3, 4)


def test_grey_saved_as_color_is_grey(tmp_path, image, mask):
    write(tmp_path, "a", np.dstack([image] * 3), mask, "png")
    assert np.array_equal(open_pairs(tmp_path, TWO)[0].read(TWO).image, image)


def test_identity_survives_copying_but_not_editing(tmp_path, image, mask):
    write(tmp_path / "one", "a", image, mask)
    write(tmp_path / "two", "a", image, mask)
    one, two = (open_pairs(tmp_path / name, TWO) for name in ("one", "two"))
    assert one.identity() == two.identity()
    write(tmp_path / "two", "a", image, 255 - mask)
    assert one.identity() != two.identity()


def wrong_size(folder, image, mask):
    write(folder, "a", image, mask[:, :3])


def no_mask(folder, image, mask):
    write(folder, "a", image, mask)
    write(folder, "b", image, None)


def no_image(folder, image, mask):
    write(folder, "a", image, mask)
    write(folder, "b", None, mask)


def twice(folder, image, mask):
    write(folder, "a", image, mask)
    write(folder, "a", image, None, "png")


def empty(folder, image, mask):
    write(folder, "a", None, None)
    (folder / "images" / "a.jpg").write_bytes(b"")


def soft_edges(folder, image, mask):
    mask[0, 0] = 7
    write(folder, "a", image, mask)


def jpeg_mask(folder, image, mask):
    write(folder, "a", image, mask)
    write(folder, "b", image, None)
    Image.fromarray(mask).save(folder / "masks" / "b.jpg")


def jpeg_image(folder, image, mask):
    write(folder, "a", image, mask)
    write(folder, "b", None, mask)
    Image.fromarray(image).save(folder / "images" / "b.jpg")


def overlay(folder, image, mask):
    write(folder, "a", np.dstack([image, image, image + 1]), mask)


def two_types(folder, image, mask):
    write(folder, "a", image, mask)
    write(folder, "b", image.astype(np.uint16), mask)


def not_finite(folder, image, mask):
    grey = image.astype(np.float32)
    grey[1, 1] = np.nan
    write(folder, "a", grey, mask)


def truncated(folder, image, mask):
    write(folder, "a", np.tile(image, (50, 50)), np.tile(mask, (50, 50)))
    path = folder / "images" / "a.tif"
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong_size, r"masks.a\.tif has 3 x 3 pixels but its image has 4 x 3"),
        (no_mask, r"no mask for b\.tif"),
        (no_image, r"no image for b\.tif;"),
        (jpeg_mask, r"masks: no mask for b\.tif; .*; b\.jpg cannot be used: export PNG or TIFF"),
        (jpeg_image, r"masks: no image for b\.tif; .*; b\.jpg cannot be used: export PNG or TIFF"),
        (twice, r"a\.png and a\.tif have one name"),
        (empty, r"images holds no TIFF or PNG file, only \.jpg"),
        (soft_edges, r"masks.a\.tif: 1 value belongs to no material .*: 7 \(1\)"),
        (overlay, r"images.a\.tif is a colour image"),
        (two_types, r"b\.tif holds uint16 but .*a\.tif holds uint8"),
        (not_finite, r"images.a\.tif holds values that are not numbers"),
        (truncated, r"images.a\.tif"),
        (lambda *_: None, r"images does not exist"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, image, mask, make, message):
    make(tmp_path, image, mask)
    with pytest.raises(InputError, match=message):
        open_pairs(tmp_path, TWO).check()


def test_sandstone_is_decoded_exactly(real_data):
    pairs = open_pairs(real_data("sandstone"), SANDSTONE)
    assert [p.name[-4:] for p in pairs] == ["0000", "0050", "0100", "0150", "0200"]
    pair = pairs[0]
    annotated = pair.read(SANDSTONE)
    colors = np.array([m.mask[0] for m in SANDSTONE], np.uint8)
    assert np.array_equal(colors[annotated.indices], np.asarray(Image.open(pair.files[1])))
    assert np.array_equal(annotated.image, tifffile.imread(pair.image))


def test_the_soft_edges_of_a_real_mask_are_refused(real_data, tmp_path):
    for kind, name in (("images", "train_input.tif"), ("masks", "train_output.tif")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "slice.tif").symlink_to(real_data("aps_handseg", name))
    values, counts = np.unique(
        tifffile.imread(tmp_path / "masks" / "slice.tif"), return_counts=True
    )
    known = Materials.from_json([{"name": "a", "mask": int(values[np.argmax(counts)])}])
    with pytest.raises(InputError, match=rf"slice\.tif: {len(values) - 1} values belong") as error:
        open_pairs(tmp_path, known).check()
    second = np.argsort(-counts, kind="stable")[1]
    assert f"{values[second]} ({counts[second]})" in str(error.value)


def test_a_hand_drawn_leaf_is_read_right(real_data, tmp_path):
    stem = "C_I_12_Strip1_00"
    for kind, name in (("images", "b_paganin"), ("masks", "d_labelled")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "leaf.png").symlink_to(
            real_data("leaf_slice", f"{stem}{name}-slice0440.png")
        )
    values = (0, 85, 128, 152, 170, 255)
    leaf = Materials.from_json([{"name": f"tissue {v}", "mask": v} for v in values])
    facts = open_pairs(tmp_path, leaf).check()[0]
    truth = np.asarray(Image.open(tmp_path / "masks" / "leaf.png"))
    assert facts.size == truth.shape == (1352, 2464)
    assert facts.pixels == tuple(int((truth == v).sum()) for v in values)


def test_scans_by_the_last_number_of_the_names(tmp_path, image, mask):
    for name in ("leaf2_s10", "leaf10_s1", "leaf2_s9", "other"):
        write(tmp_path, name, image, mask)
    pairs = open_pairs(tmp_path, TWO)
    assert pairs.scans == ("leaf2_s", "leaf10_s", "other")
    assert [(pair.name, pair.scan) for pair in pairs][:2] == [
        ("leaf2_s9", "leaf2_s"), ("leaf2_s10", "leaf2_s"),
    ]  # fmt: skip  # one row of pairs


def test_names_that_are_numbers_are_of_the_folder_s_scan(tmp_path, image, mask):
    for name in ("1", "22"):
        write(tmp_path / "leaf", name, image, mask)
    assert open_pairs(tmp_path / "leaf", TWO).scans == ("leaf",)


def test_real_scans_in_folders_of_their_own(real_data, tmp_path):
    """Four scans of other sizes, and masks whose names say more than those of their images."""
    groups = {"A": (1, 300), "B": (103, 738), "C": (394, 622), "D": (1501, 1503)}
    for scan, numbers in groups.items():
        for number in numbers:
            for kind, suffix in (("images", ""), ("masks", "_label")):
                (tmp_path / scan / kind).mkdir(parents=True, exist_ok=True)
                source = real_data("nmc_nanoct", kind, f"{number}{suffix}.tif")
                (tmp_path / scan / kind / f"{number}.tif").symlink_to(source)
    three = Materials.from_json([{"name": str(v), "mask": v} for v in range(3)])
    pairs = open_pairs(tmp_path, three)
    assert pairs.scans == ("A", "B", "C", "D")
    assert [pair.name for pair in pairs][:3] == ["A/1", "A/300", "B/103"]
    for pair, fact in zip(pairs, pairs.check(), strict=True):
        truth = tifffile.imread(pair.files[1])
        assert fact.dtype == "float32"
        assert fact.pixels == tuple(np.bincount(truth.ravel(), minlength=3))
    with pytest.raises(InputError, match=r"no mask for 1\.tif"):
        open_pairs(real_data("nmc_nanoct"), three)
