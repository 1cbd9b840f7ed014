import numpy as np
import pytest
import tifffile

from xctvol.sources import open_source
from xctvol.sources.tags import centimetre_spacing, imagej_spacing, ome_spacing
from xctvol.units import Spacing

PLANES = np.zeros((3, 8, 9), "u2")


def close(stated, zyx):
    spacing, _ = stated
    return spacing.zyx == pytest.approx(zyx, rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "um"),
    [("micron", 1), ("um", 1), ("µm", 1), ("\\u00B5m", 1), ("mm", 1000), ("nm", 1e-3), ("cm", 1e4)],
)
def test_imagej_units(unit, um):
    per_um = 1 / 0.65
    stated = imagej_spacing({"unit": unit, "spacing": 2 / um}, (per_um * um, per_um * um))
    assert close(stated, (2, 0.65, 0.65))


@pytest.mark.parametrize(
    ("metadata", "per_unit"),
    [
        ({"unit": "inch"}, (150, 150)),
        ({"unit": "pixel"}, (1, 1)),
        ({"unit": ""}, (1, 1)),
        ({}, (2, 2)),
        ({"unit": "um"}, (0, 0)),
        ({"unit": "um"}, (1e9, 1e9)),
        ({"unit": "cm"}, (0.5, 0.5)),
        ({"unit": "um", "spacing": -1.0}, (2, 2)),
        ({"unit": "um", "spacing": 0.0}, (2, 2)),
        ({"unit": "um", "zunit": "sec"}, (2, 2)),
    ],
)
def test_imagej_nonsense_is_not_believed(metadata, per_unit):
    assert imagej_spacing(metadata, per_unit) is None


def test_resolution_per_centimetre():
    assert close(centimetre_spacing((5000, 2500)), (2, 4, 2))
    for dpi in (72, 96, 150, 300, 600):
        assert centimetre_spacing((dpi / 2.54, dpi / 2.54)) is None
    assert centimetre_spacing((0, 0)) is None


def test_ome_units():
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    assert close(ome_spacing(sizes), (2, 0.5, 0.5))
    assert close(ome_spacing(sizes | {"PhysicalSizeZUnit": "mm"}), (2000, 0.5, 0.5))
    assert ome_spacing({"PhysicalSizeX": 0.5}) is None
    assert ome_spacing(sizes | {"PhysicalSizeXUnit": "pixel"}) is None


def test_imagej_files(tmp_path):
    options = {"imagej": True, "resolution": (1 / 0.65, 1 / 0.65)}
    path = tmp_path / "v.tif"
    tifffile.imwrite(
        path, PLANES, metadata={"unit": "um", "spacing": 1.5, "axes": "ZYX"}, **options
    )
    source = open_source(path)
    assert source.spacing.zyx == pytest.approx((1.5, 0.65, 0.65), rel=1e-6)
    assert source.spacing_origin == "ImageJ tag in v.tif"
    tifffile.imwrite(path, PLANES, metadata={"unit": "micron", "axes": "ZYX"}, **options)
    source = open_source(path)
    assert source.spacing.zyx == pytest.approx((0.65, 0.65, 0.65), rel=1e-6)
    assert "as far apart as pixels" in source.spacing_origin


def test_ome_files(tmp_path):
    path = tmp_path / "v.ome.tif"
    sizes = {"PhysicalSizeX": 700, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.7}
    tifffile.imwrite(path, PLANES, metadata={"axes": "ZYX", **sizes})
    assert open_source(path).spacing.zyx == pytest.approx((0.7, 0.7, 0.7))


def test_plain_files(tmp_path):
    path = tmp_path / "v.tif"
    options = {"resolution": (5000, 5000), "photometric": "minisblack"}
    tifffile.imwrite(path, PLANES, resolutionunit="CENTIMETER", **options)
    assert open_source(path).spacing == Spacing(2, 2, 2)
    for unit in ("INCH", "NONE"):
        tifffile.imwrite(path, PLANES, resolutionunit=unit, **options)
        assert open_source(path).spacing is None
        assert open_source(path).spacing_origin == ""


def test_stacks_believe_what_all_slices_say(tmp_path):
    def write(number, resolution):
        tifffile.imwrite(
            tmp_path / f"{number}.tif", PLANES[0], resolution=(resolution, resolution),
            resolutionunit="CENTIMETER",
        )  # fmt: skip

    for n in range(3):
        write(n, 5000)
    assert open_source(tmp_path).spacing == Spacing(2, 2, 2)
    write(2, 4000)
    assert open_source(tmp_path).spacing is None


def test_skipped_slices_hide_the_distance(tmp_path):
    for n in range(0, 30, 10):
        tifffile.imwrite(
            tmp_path / f"{n}.tif", PLANES[0], resolution=(5000, 5000), resolutionunit="CENTIMETER"
        )
    source = open_source(tmp_path)
    assert source.spacing is None
    assert any("2 um wide" in line for line in source.summary())
