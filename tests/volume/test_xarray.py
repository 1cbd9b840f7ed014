"""Volume.to_xarray indexes as the voxels in memory do."""

import numpy as np
import pytest

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
