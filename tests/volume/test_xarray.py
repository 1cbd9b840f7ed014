"""Volume.to_xarray indexes as the voxels in memory do."""

import numpy as np
import pytest
import zarr

from xctvol.units import Spacing
from xctvol.volume import Codec, Image, halve_grey, open_volume

SHAPE = (70, 130, 150)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    voxels = np.random.default_rng(0).integers(0, 9000, SHAPE).astype(np.uint16)
    image = Image(tmp_path_factory.mktemp("x") / "a.zarr", SHAPE, voxels.dtype, Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], voxels[block.write.slices], halve_grey)
    image.finish(Spacing(2.0, 1.0, 0.5), {}, {})
    return open_volume(image.path), voxels


@pytest.mark.parametrize(
    "index",
    [
        np.s_[:],
        np.s_[5],
        np.s_[-1, 3],
        np.s_[2, 7, -3],
        np.s_[3:60:7, 10:20, ::40],
        np.s_[::-1, 4],
        np.s_[0:0],
        np.s_[[1, 69, 3], :, 4],
    ],
    ids=str,
)
def test_indexing(volume, index):
    opened, voxels = volume
    np.testing.assert_array_equal(opened.to_xarray()[index].values, voxels[index])


def test_selection_by_micrometres(volume):
    opened, voxels = volume
    found = opened.to_xarray().sel(z=20, x=slice(10, 12))
    np.testing.assert_array_equal(found.values, voxels[10, :, 20:25])
    assert float(found.mean()) == pytest.approx(voxels[10, :, 20:25].mean())


@pytest.mark.parametrize("depth", [5, 9, 67])
def test_voxels_of_every_level_are_where_those_are_that_they_stand_for(tmp_path, depth):
    """Thin scans are halved to one slice, and their shapes no longer tell how often."""
    image = Image(tmp_path / "a.zarr", (depth, 4200, 64), np.dtype(np.uint8), Codec("zstd"))
    image.finish(Spacing(2.0, 1.0, 0.5), {}, {})
    volume = open_volume(image.path)
    assert len(volume.levels) == 4
    finest = volume.to_xarray(0)
    for number, level in enumerate(image.layout.levels):
        coordinates = volume.to_xarray(number)
        for axis, factor in zip("zyx", level.factor, strict=True):
            first = np.mean(2.0 * np.arange(factor)) if axis == "z" else None
            spaced = np.diff(coordinates[axis].values)
            step = float(finest[axis][1] - finest[axis][0]) * factor
            assert np.allclose(spaced, step)
            assert first is None or coordinates[axis].values[0] == first


def test_levels_of_other_programs_have_the_sizes_they_say(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    scales = ((2.0, 1.0, 1.0), (6.0, 3.0, 3.0))
    for number, n in enumerate((9, 3)):
        group.create_array(str(number), shape=(n, n, n), dtype=np.uint8)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"],
                "datasets": [
                    {
                        "path": str(number),
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                    for number, scale in enumerate(scales)
                ],
            }
        ],
    }
    volume = open_volume(tmp_path / "a.zarr")
    assert [spacing.zyx for spacing in volume.spacings] == [*scales]
    assert volume.to_xarray(1).z.values.tolist() == [2.0, 8.0, 14.0]
