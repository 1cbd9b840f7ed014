"""DICOM series, against pydicom; made ones are written by pydicom too."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from xctvol.errors import InputError
from xctvol.sources import open_source
from xctvol.units import Spacing

VOLUME = np.random.default_rng(1).integers(0, 4000, (6, 16, 20)).astype("u2")


def write_slice(path, plane, position, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{abs(hash(path.name)) % 10**8}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    item.Modality, item.SeriesInstanceUID, item.SeriesDescription = "CT", "1.2.9", "leaf"
    item.Rows, item.Columns = plane.shape
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, 0
    item.PixelSpacing, item.SliceThickness = [0.02, 0.01], 5
    item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    item.ImagePositionPatient = list(position)
    item.RescaleSlope, item.RescaleIntercept = 1, -1000
    item.PixelData = plane.astype("<u2").tobytes()
    for name, value in tags.items():
        if value is None:
            del item[name]
        else:
            setattr(item, name, value)
    item.save_as(path, enforce_file_format=True)


def write_series(folder, positions, **tags):
    folder.mkdir(exist_ok=True)
    for n, z in enumerate(positions):
        write_slice(folder / f"i{n}", VOLUME[n], (1, 2, z), **tags)
    return folder


def by_pydicom(files):
    for path in files:
        item = pydicom.dcmread(path)
        yield item.pixel_array * item.RescaleSlope + item.RescaleIntercept


def test_a_real_series(real_data, read):
    source = open_source(real_data("formats", "dicom_series"))
    assert source.shape == (10, 512, 512)
    assert source.dtype == np.int16
    z = [pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2] for p in source.files]
    assert z == [-784.5 + 2 * n for n in range(10)]
    assert source.spacing.zyx == pytest.approx((2000, 976.5625, 976.5625))
    for plane, expected in zip(read(source), by_pydicom(source.files), strict=True):
        np.testing.assert_array_equal(plane, expected)
    text = "\n".join(source.summary())
    for part in ("run against the position", "2 mm apart", "SliceThickness (3 mm) is not used"):
        assert part in text


def test_order_and_distance_come_from_positions(tmp_path, read):
    folder = write_series(tmp_path / "s", [0.3, 0.1, 0.6, 0.2, 0.5, 0.4])
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "README.md").write_text("x")
    source = open_source(folder)
    assert [path.name for path in source.files] == ["i1", "i3", "i0", "i5", "i4", "i2"]
    assert source.spacing.zyx == pytest.approx((100, 20, 10))
    expected = VOLUME[[1, 3, 0, 5, 4, 2]].astype(int) - 1000
    np.testing.assert_array_equal(read(source), expected)
    assert open_source(folder, spacing=Spacing(1, 1, 1)).spacing == Spacing(1, 1, 1)


def test_only_the_files_of_a_slab_are_read(tmp_path):
    source = open_source(write_series(tmp_path / "s", range(6)))
    for n in (0, 1, 4, 5):
        (tmp_path / "s" / f"i{n}").unlink()
    out = np.empty((2, 16, 20), source.dtype)
    source.read_into(2, 4, out)
    np.testing.assert_array_equal(out, VOLUME[2:4].astype(int) - 1000)


@pytest.mark.parametrize("orientation", [[0, 1, 0, 0, 0, 1], [1, 0, 0, 0, -1, 0]])
def test_other_orientations_are_ordered_along_their_own_normal(tmp_path, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    for n in range(4):
        position = (np.array([5, 6, 7]) + normal * n * 0.25).tolist()
        write_slice(tmp_path / f"i{n}", VOLUME[n], position, ImageOrientationPatient=orientation)
    source = open_source(tmp_path)
    assert [path.name for path in source.files] == ["i0", "i1", "i2", "i3"]
    assert source.spacing.z == pytest.approx(250)


@pytest.mark.parametrize(
    ("positions", "why"),
    [
        ([0, 1, 2, 4, 5, 6], "1 mm apart, but not i2 and i3: 2 mm"),
        ([0, 1, 2, 2, 3, 4], "1 mm apart, but not i2 and i3: 0 mm"),
        ([0, 1, 2, 3.02, 4, 5], r"i2 and i3: 1\.02 mm, i3 and i4: 0\.98 mm"),
        ([1, 1, 1, 1, 1, 1], "0 mm apart, but not i0 and i1: 0 mm"),
    ],
)
def test_uneven_distances_are_refused_with_a_list(tmp_path, positions, why):
    with pytest.raises(InputError, match=why):
        open_source(write_series(tmp_path / "s", positions))


def test_slightly_uneven_distances_are_rounding(tmp_path):
    source = open_source(write_series(tmp_path / "s", [0, 1, 2, 3.004, 4, 5]))
    assert source.spacing.z == pytest.approx(1000)


def test_several_series_are_listed(tmp_path):
    folder = write_series(tmp_path / "s", range(4))
    other = {"SeriesInstanceUID": "1.2.8", "SeriesDescription": "scout"}
    for n in (4, 5):
        write_slice(folder / f"i{n}", VOLUME[n], (0, 0, n), **other)
    why = r"2 series: leaf \(4 files, i0 \.\.\.\), scout \(2 files, i4 \.\.\.\)"
    with pytest.raises(InputError, match=why):
        open_source(folder)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"ImagePositionPatient": None}, "does not say where its slice lies"),
        ({"ImageOrientationPatient": None}, "does not say where its slice lies"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, r"but \[1\.0, 0\.0, 0\.0"),
        ({"PixelSpacing": [0.03, 0.01]}, r"is \[0\.03, 0\.01\]"),
        ({"ImagePositionPatient": [1.3, 2, 5]}, "shifted sideways"),
        ({"RescaleSlope": 0.5}, "i5 holds 16 x 20 pixels .* float64, but 5 of the 6"),
    ],
)
def test_an_odd_slice_is_refused(tmp_path, tags, why):
    folder = write_series(tmp_path / "s", range(6))
    write_slice(folder / "i5", VOLUME[5], (1, 2, 5), **tags)
    with pytest.raises(InputError, match=why):
        open_source(folder)


def test_pixels_without_size_and_single_slices_have_no_spacing(tmp_path, read):
    assert open_source(write_series(tmp_path / "s", range(6), PixelSpacing=None)).spacing is None
    one = open_source(tmp_path / "s" / "i3")
    assert one.spacing is None
    np.testing.assert_array_equal(read(one)[0], VOLUME[3].astype(int) - 1000)


def test_several_frames_and_colours_are_refused(tmp_path):
    frames = VOLUME[:2].reshape(32, 20)
    write_slice(tmp_path / "f", frames, (0, 0, 0), NumberOfFrames=2, Rows=16)
    with pytest.raises(InputError, match="has 2 frames"):
        open_source(tmp_path / "f")


def test_cut_and_changed_files_are_named(tmp_path, read):
    folder = write_series(tmp_path / "s", range(6))
    source = open_source(folder)
    content = (folder / "i3").read_bytes()
    for length in range(0, len(content), 61):
        (folder / "i3").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"i3") as caught:
            read(source)
        assert "\n" not in str(caught.value)
    write_slice(folder / "i3", VOLUME[3, :, :19], (1, 2, 3))
    with pytest.raises(InputError, match=r"i3 holds \(1, 16, 19\)"):
        read(source)
