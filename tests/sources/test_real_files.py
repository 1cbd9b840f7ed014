"""Real scans, read by us and by independent readers."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.sources import open_source
from xctvol.sources.images import read_image
from xctvol.stages.convert import convert
from xctvol.units import Spacing


def by_pillow(path):
    with Image.open(path) as image:
        for page in range(image.n_frames):
            image.seek(page)
            yield np.asarray(image)


def test_sandstone_slices_and_masks(real_data, read):
    source = open_source(real_data("sandstone", "images"))
    assert source.shape == (5, 1024, 996)
    assert source.spacing is None
    assert "every 50th" in "\n".join(source.summary())
    for plane, path in zip(read(source), source.files, strict=True):
        np.testing.assert_array_equal(plane, next(by_pillow(path)))
    one = open_source(source.files[0])
    assert one.spacing.x == pytest.approx(1e6 / 448139)
    with pytest.raises(InputError, match="colour image"):
        open_source(real_data("sandstone", "masks"))
    for path in sorted(real_data("sandstone", "masks").iterdir()):
        np.testing.assert_array_equal(read_image(path), next(by_pillow(path)))


def test_bone_slices(real_data, read):
    source = open_source(real_data("volume_bone_slices"))
    assert source.shape == (64, 200, 200)
    assert (source.files[0].name, source.files[63].name) == (
        "3155_D_4_bc_0000.tif",
        "3155_D_4_bc_0063.tif",
    )
    np.testing.assert_array_equal(read(source)[31], next(by_pillow(source.files[31])))


def test_sand(real_data, read):
    path = real_data("volume_sand", "sand_200x200x100_uint8.raw")
    source = open_source(path)
    assert source.shape == (100, 200, 200)
    np.testing.assert_array_equal(read(source).ravel(), np.fromfile(path, np.uint8))


def test_citrus_glands(real_data, read):
    """The voxels that the authors counted in their table."""
    source = open_source(real_data("measure_citrus_glands"))
    assert source.shape == (387, 392, 393)
    [table] = real_data("measure_citrus_glands").glob("*_L03.csv")
    voxels = int(table.read_text().split(",")[-2])
    assert voxels == 290577
    assert np.count_nonzero(read(source)) == voxels


def test_padded_deflate_strips(real_data, read):
    """Strict decoders refuse every page of this file; Pillow reads it."""
    path = real_data("formats", "tiff", "bone_7H3B_B1.tif")
    source = open_source(path)
    assert source.shape == (600, 250, 350)
    out = np.empty((2, 250, 350), np.uint8)
    source.read_into(300, 302, out)
    with Image.open(path) as image:
        for plane, page in zip(out, (300, 301), strict=True):
            image.seek(page)
            np.testing.assert_array_equal(plane, np.asarray(image))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("tiff/fibers_150x150x150.tif", "u1"),
        ("tiff/week2.tiff", "u2"),
        ("tiff/wood.tif", "u2"),
        ("tiff_oddities/10ct_32bit_128.tiff", "f4"),
    ],
)
def test_awkward_encodings(real_data, read, name, dtype):
    path = real_data("formats", name)
    source = open_source(path)
    assert source.dtype == np.dtype(dtype)
    for plane, expected in zip(read(source), by_pillow(path), strict=True):
        np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize(
    "name",
    [
        "formats/dicom_series",
        "formats/nifti_ct_labelled/example_ct_sm.nii.gz",
        "formats/tiff/week2.tiff",
        "formats/tiff/fibers_150x150x150.tif",
        "formats/tiff_oddities/10ct_32bit_128.tiff",
        "volume_bone_slices",
        "volume_sand/sand_200x200x100_uint8.raw",
        "leaf_slice/C_I_12_Strip1_00b_paganin-slice0440.png",
    ],
)
def test_every_format_becomes_a_volume(real_data, tmp_path, read, name):
    source = open_source(real_data(name), spacing=Spacing(3, 2, 1))
    volume = convert(source, tmp_path / "v.zarr").run()
    np.testing.assert_array_equal(volume.read(Box.whole(volume.shape)), read(source))


def test_what_makes_no_scan_is_refused_in_a_line(real_data):
    for name in (
        "formats/tiff",
        "formats/tiff_oddities",
        "formats/tiff_oddities/tiff_overflow_rows_per_strip.tif",
        "formats/tiff_oddities/hopper_bigtiff.tif",
        "formats/tiff_oddities/tiff_adobe_deflate.tif",
        "formats/tiff_oddities/tiff_strip_planar_lzw.tiff",
        "formats/hdf5_dxchange",
        "formats/hdf5_dxchange/tooth.h5",
        "leaf_slice",
        "nmc_nanoct/images",
        "README.md",
    ):
        with pytest.raises(InputError) as caught:
            open_source(real_data(name))
        assert str(real_data(name)) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["hopper_bigtiff.tif", "tiff_adobe_deflate.tif", "tiff_strip_planar_lzw.tiff"]
)
def test_colour_images_of_every_layout(real_data, name):
    path = real_data("formats", "tiff_oddities", name)
    np.testing.assert_array_equal(read_image(path), next(by_pillow(path)))


def test_resolution_per_inch_is_not_believed(real_data):
    assert open_source(real_data("aps_handseg", "train_input.tif")).spacing is None


def test_leaf_slice(real_data, read):
    paths = sorted(real_data("leaf_slice").glob("*.png"))
    assert len(paths) == 4
    for path in paths:
        source = open_source(path)
        assert source.shape == (1, 1352, 2464)
        np.testing.assert_array_equal(read(source)[0], next(by_pillow(path)))
    assert set(np.unique(read_image(paths[3]))) == {0, 85, 128, 152, 170, 255}


def test_raw_projections_are_explained(real_data):
    path = real_data("formats", "hdf5_dxchange", "tooth.h5")
    with pytest.raises(InputError, match="raw projections, as theta beside it shows"):
        open_source(path)
    for name in ("exchange/data", "/exchange/data_white"):
        with pytest.raises(InputError, match="raw projections"):
            open_source(path, dataset=name)


@pytest.mark.parametrize("name", ["example_ct_sm.nii.gz", "example_seg.nii.gz"])
def test_nifti_with_labels(real_data, read, name):
    path = real_data("formats", "nifti_ct_labelled", name)
    source = open_source(path)
    image = nibabel.load(path)
    assert source.shape == (30, 101, 122)
    assert source.dtype == image.get_data_dtype()
    assert source.spacing.zyx == pytest.approx((3000, 3000, 3000))
    np.testing.assert_array_equal(read(source), np.asarray(image.dataobj).T)
