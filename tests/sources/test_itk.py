"""NRRD, MetaImage and NIfTI, against nibabel and headers written by hand."""

import gzip
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
import SimpleITK

from xctvol.errors import InputError
from xctvol.sources import open_source
from xctvol.sources.flat import Flat
from xctvol.sources.itk import Packed
from xctvol.units import Spacing

VOLUME = np.random.default_rng(1).integers(0, 30000, (7, 9, 11)).astype("i2")
SUFFIXES = ["nrrd", "nhdr", "mha", "mhd", "nii", "nii.gz"]


def write_itk(path, volume=VOLUME, spacing=(0.001, 0.002, 0.003), *, packed=False):
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path), packed)


def by_itk(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def write_nrrd(path, volume=VOLUME, *lines, encoding="raw", beside=None):
    """An NRRD file as its specification describes it."""
    sizes = " ".join(map(str, volume.shape[::-1]))
    kinds = {"u1": "uint8", "i2": "short", "f4": "float"}
    head = [
        "NRRD0004", "# a comment: with a colon", f"type: {kinds[volume.dtype.str[1:]]}",
        f"dimension: {volume.ndim}", f"sizes: {sizes}", f"encoding: {encoding}",
        "endian: " + ("big" if volume.dtype.str[0] == ">" else "little"), *lines,
    ]  # fmt: skip  # a header
    pixels = volume.tobytes()
    pixels = gzip.compress(pixels) if encoding == "gzip" else pixels
    path.write_bytes("\n".join(head).encode() + (b"\n" if beside else b"\n\n" + pixels))
    if beside:
        beside.write_bytes(pixels)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
def test_every_format_and_dtype(tmp_path, read, suffix, packed, dtype):
    volume = (VOLUME % 251).astype(dtype)
    write_itk(tmp_path / f"v.{suffix}", volume, packed=packed)
    source = pickle.loads(pickle.dumps(open_source(tmp_path / f"v.{suffix}")))
    assert source.dtype == volume.dtype
    assert source.spacing.zyx == pytest.approx((3, 2, 1))
    assert isinstance(
        source, Packed if suffix == "nii.gz" or (packed and suffix != "nii") else Flat
    )
    np.testing.assert_array_equal(read(source), volume)
    assert open_source(tmp_path / f"v.{suffix}", spacing=Spacing(9, 8, 7)).spacing.z == 9


def test_packed_files_say_what_they_take_and_serve_threads(tmp_path, read):
    write_itk(tmp_path / "v.nrrd", packed=True)
    source = open_source(tmp_path / "v.nrrd")
    assert "holds all of it, 1.4 kB" in source.summary()[-1]
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(read, [source] * 8):
            np.testing.assert_array_equal(result, VOLUME)
    before = source.identity()
    write_itk(tmp_path / "v.nrrd", VOLUME + 1, packed=True)
    assert source.identity() != before
    np.testing.assert_array_equal(read(source), VOLUME + 1)
    write_itk(tmp_path / "v.nrrd", VOLUME[:4], packed=True)
    with pytest.raises(InputError, match=r"now holds \(4, 9, 11\)"):
        read(source)


def test_large_packed_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("xctvol.sources.itk.volumes.LARGEST_PACKED_BYTES", 1000)
    write_itk(tmp_path / "v.nrrd", packed=True)
    with pytest.raises(InputError, match=r"unpacks to 1\.4 kB in one piece.*without compression"):
        open_source(tmp_path / "v.nrrd")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_file_is_refused_or_right(tmp_path, read, suffix, packed):
    """SimpleITK itself takes what is missing of a NIfTI for zeros."""
    refused = 0
    write_itk(tmp_path / f"v.{suffix}", packed=packed)
    largest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    for length in range(0, len(content), 67):
        largest.write_bytes(content[:length])
        try:
            got = read(open_source(tmp_path / f"v.{suffix}"))
        except InputError as error:
            assert str(tmp_path / "v.") in str(error)  # noqa: PT017 - right data may come too
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        else:  # only the checksum at the end is lost
            assert length > len(content) - 8
            np.testing.assert_array_equal(got, VOLUME)
    assert refused >= len(content) // 67


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_by_hand(tmp_path, read, order, encoding):
    volume = VOLUME.astype(f"{order}i2")
    write_nrrd(tmp_path / "v.nrrd", volume, "spacings: 1 2 3", encoding=encoding)
    source = open_source(tmp_path / "v.nrrd")
    np.testing.assert_array_equal(read(source), volume)
    assert source.spacing == Spacing(3000, 2000, 1000)


def test_nrrd_with_its_pixels_beside_it(tmp_path, read):
    beside = tmp_path / "pixels.dat"
    write_nrrd(tmp_path / "v.nhdr", VOLUME, "data file: pixels.dat", beside=beside)
    np.testing.assert_array_equal(read(open_source(tmp_path / "v.nhdr")), VOLUME)
    beside.write_bytes(b"header" + beside.read_bytes())
    for skip in (6, -1):
        write_nrrd(
            tmp_path / "v.nhdr", VOLUME, f"byte skip: {skip}", "data file: pixels.dat",
            beside=tmp_path / "other",
        )  # fmt: skip  # one header
        np.testing.assert_array_equal(read(open_source(tmp_path / "v.nhdr")), VOLUME)


@pytest.mark.parametrize(
    ("lines", "spacing"),
    [
        (["spacings: 0.65 0.65 2", 'units: "um" "um" "um"'], Spacing(2, 0.65, 0.65)),
        (["spacings: 0.65 0.65 2", 'units: "mm" "mm" "mm"'], Spacing(2000, 650, 650)),
        (["spacings: 1 1 1", 'units: "mm" "mm" "mm"'], Spacing(1000, 1000, 1000)),
        (["spacings: 2 2 3", 'units: "mm" "mm" "um"'], Spacing(3, 2000, 2000)),
        (["spacings: 2 20 3", 'units: "mm" "um" "mm"'], Spacing(3000, 20, 2000)),
        (["spacings: 2 2 3", 'units: "mm" "mm" "pixel"'], None),
        (["spacings: 2 2 3", 'units: "mm" "mm" ""'], None),
        (["spacings: 2 2 3", 'units: "" "" ""'], Spacing(3000, 2000, 2000)),
        (
            [
                "space dimension: 3",
                "space directions: (0,2,0) (3,0,0) (0,0,4)",
                'space units: "um" "um" "um"',
            ],
            Spacing(4, 3, 2),
        ),
        (  # the image's axes are not those that have the units
            [
                "space dimension: 3",
                "space directions: (0,2,0) (3,0,0) (0,0,4)",
                'space units: "um" "mm" "um"',
            ],
            None,
        ),
        (["spacings: 1 1 1", 'units: "pixel" "pixel" "pixel"'], None),
        (["spacings: 1 1 1"], None),
        (["spacings: 2e5 1 1"], None),
        ([], None),
    ],
)
def test_nrrd_voxel_sizes(tmp_path, lines, spacing):
    write_nrrd(tmp_path / "v.nrrd", VOLUME, *lines)
    source = open_source(tmp_path / "v.nrrd")
    assert bool(source.spacing_origin) == (spacing is not None)
    if spacing is None:
        assert source.spacing is None
    else:
        assert source.spacing.zyx == pytest.approx(spacing.zyx)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_with_the_line_ends_of_windows(tmp_path, read, encoding):
    write_nrrd(tmp_path / "v.nrrd", VOLUME, "spacings: 1 2 3", encoding=encoding)
    header, _, pixels = (tmp_path / "v.nrrd").read_bytes().partition(b"\n\n")
    header = header.replace(b"\n", b"\r\n") + b"\r\n\r\n"
    (tmp_path / "v.nrrd").write_bytes(header + pixels)
    assert isinstance(open_source(tmp_path / "v.nrrd"), Flat if encoding == "raw" else Packed)
    np.testing.assert_array_equal(read(open_source(tmp_path / "v.nrrd")), VOLUME)
    np.testing.assert_array_equal(by_itk(tmp_path / "v.nrrd"), VOLUME)


def test_nrrd_headers_of_any_length(tmp_path, read):
    for kilobytes in (100, 2000):
        write_nrrd(tmp_path / "v.nrrd", VOLUME, "key:=" + "value " * 170 * kilobytes)
        if kilobytes == 100:
            np.testing.assert_array_equal(read(open_source(tmp_path / "v.nrrd")), VOLUME)
    with pytest.raises(InputError, match="header of more than 1048576 bytes"):
        open_source(tmp_path / "v.nrrd")


@pytest.mark.parametrize("skip", ["after the header", "further", "-1", "0"])
def test_metaimage_headers_count_from_the_start_of_the_file(tmp_path, read, skip):
    """Bytes after the header, and after the pixels, must not shift the pixels."""
    write_itk(tmp_path / "v.mha", VOLUME)
    before, _, pixels = (tmp_path / "v.mha").read_bytes().partition(b"ElementDataFile")
    local, _, pixels = pixels.partition(b"\n")
    end = b"ElementDataFile" + local + b"\n"
    length = len(before) + len(b"HeaderSize = 000000\n") + len(end)
    gap = {"further": 50}.get(skip, 0)
    size = int(skip) if skip in ("-1", "0") else length + gap
    header = before + f"HeaderSize = {size:06d}\n".encode() + end
    after = b"" if skip == "-1" else bytes(4096)
    (tmp_path / "v.mha").write_bytes(header + b"x" * gap + pixels + after)
    source = open_source(tmp_path / "v.mha")
    assert isinstance(source, Flat)
    np.testing.assert_array_equal(read(source), by_itk(tmp_path / "v.mha"))
    np.testing.assert_array_equal(read(source), VOLUME)


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd", "a/../../secret.raw"])
def test_headers_do_not_reach_out_of_their_folder(tmp_path, name):
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "secret.raw").write_bytes(VOLUME.tobytes())
    write_itk(tmp_path / "in" / "v.mhd")
    text = (tmp_path / "in" / "v.mhd").read_text()
    (tmp_path / "in" / "v.mhd").write_text(text.replace("v.raw", name))
    write_nrrd(
        tmp_path / "in" / "v.nhdr", VOLUME, f"data file: {name}", beside=tmp_path / "in" / "v.raw"
    )
    for suffix in ("mhd", "nhdr"):
        with pytest.raises(InputError, match="only files in its own folder are opened"):
            open_source(tmp_path / "in" / f"v.{suffix}")


@pytest.mark.parametrize("name", ["LIST", "slice%03d.raw 1 7 1"])
def test_pixels_in_many_files_are_refused(tmp_path, name):
    write_itk(tmp_path / "v.mhd")
    text = (tmp_path / "v.mhd").read_text()
    (tmp_path / "v.mhd").write_text(text.replace("v.raw", name))
    with pytest.raises(InputError, match="in many files"):
        open_source(tmp_path / "v.mhd")


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path):
    write_nrrd(tmp_path / "v.nrrd", VOLUME, encoding="gzip")
    content = (tmp_path / "v.nrrd").read_bytes()
    for sizes in (b"sizes: 50000 50000 50000", b"sizes: 900000 900000 900000"):
        (tmp_path / "v.nrrd").write_bytes(content.replace(b"sizes: 11 9 7", sizes))
        with pytest.raises(InputError, match=r"bytes cannot hold|cannot read"):
            open_source(tmp_path / "v.nrrd")
    (tmp_path / "v.nrrd").write_bytes(
        content.replace(b"sizes: 11 9 7", b"sizes: 50000 50000 50000").replace(b"gzip", b"raw")
    )
    with pytest.raises(InputError, match="was cut short"):
        open_source(tmp_path / "v.nrrd")


def write_nifti(path, array, slope=None, unit="mm"):
    """By nibabel, with axes x, y, z."""
    image = nibabel.Nifti1Image(array.T, np.diag([1, 2, 3, 1]))
    image.header.set_xyzt_units(unit)
    image.header.set_slope_inter(*(slope or (1, 0)))
    nibabel.save(image, path)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("order", "<>")
def test_nifti_of_both_byte_orders_by_nibabel(tmp_path, read, suffix, order):
    header = nibabel.Nifti1Header(endianness=order)
    nibabel.save(nibabel.Nifti1Image(VOLUME.T, np.eye(4), header), tmp_path / f"v.{suffix}")
    np.testing.assert_array_equal(read(open_source(tmp_path / f"v.{suffix}")), VOLUME)


def test_nifti_2_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti2Image(VOLUME.T, np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(InputError, match="save it as NIfTI-1"):
        open_source(tmp_path / "v.nii")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_rescaled_nifti(tmp_path, read, suffix):
    write_nifti(tmp_path / f"v.{suffix}", VOLUME, slope=(0.5, 3))
    source = open_source(tmp_path / f"v.{suffix}")
    expected = np.asarray(nibabel.load(tmp_path / f"v.{suffix}").dataobj).T
    assert isinstance(source, Packed)
    np.testing.assert_allclose(read(source), expected)


@pytest.mark.parametrize(
    ("unit", "x_um"), [("mm", 1000), ("micron", 1), ("meter", None), ("unknown", 1000)]
)
def test_nifti_units(tmp_path, unit, x_um):
    write_nifti(tmp_path / "v.nii", VOLUME, unit=unit)
    source = open_source(tmp_path / "v.nii")
    if x_um is None:
        assert source.spacing is None
    else:
        assert source.spacing.zyx == pytest.approx((3 * x_um, 2 * x_um, x_um))
        assert ("taken to be in mm" in source.spacing_origin) == (unit == "unknown")


def test_one_time_is_a_scan_and_several_are_not(tmp_path, read):
    write_nifti(tmp_path / "v.nii", VOLUME[None])
    np.testing.assert_array_equal(read(open_source(tmp_path / "v.nii")), VOLUME)
    write_nifti(tmp_path / "v.nii", np.stack([VOLUME, VOLUME]))
    with pytest.raises(InputError, match="11 x 9 x 7 x 2 voxels"):
        open_source(tmp_path / "v.nii")
    rgb = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), "u1"), isVector=True)
    SimpleITK.WriteImage(rgb, str(tmp_path / "c.mha"))
    with pytest.raises(InputError, match="of 3 components"):
        open_source(tmp_path / "c.mha")


def test_without_simpleitk_it_says_what_to_install(tmp_path):
    write_itk(tmp_path / "v.nrrd")
    code = f"""
import sys
sys.modules["SimpleITK"] = None
from xctvol.sources import open_source
open_source({str(tmp_path / "v.nrrd")!r})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "InputError: DICOM, NRRD" in run.stderr
    assert "pip install 'xctvol[dicom]'" in run.stderr
