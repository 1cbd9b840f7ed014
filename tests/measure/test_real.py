"""Published segmentations with known answers."""

import zipfile

import numpy as np
import pytest
import tifffile

from xctvol.materials import Materials
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.measure import measure
from xctvol.units import Spacing

CITRUS = Spacing(57.5, 57.5, 57.5)


@pytest.fixture
def glands(real_data, labels_of):
    image = tifffile.imread(real_data("measure_citrus_glands", "WR05_CRC3605_18B-19-5_glands.tif"))
    return labels_of((image > 0).astype(np.uint8), CITRUS, Materials.numbered([1]))


@pytest.mark.slow
def test_citrus_glands_are_those_of_the_authors(glands, real_data, tmp_path):
    tables = measure(glands, tmp_path / "out", connectivity=6).run()
    assert len(tables.regions) == 5018
    assert tables.materials["voxels"].tolist() == [290577]
    table = real_data("measure_citrus_glands", "WR05_CRC3605_18B-19-5_L03_glands.csv")
    published = np.loadtxt(table, delimiter=",")
    centroids = tables.regions[["centroid_z", "centroid_y", "centroid_x"]].to_numpy()
    np.testing.assert_allclose(centroids, published, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("connectivity", "count"), [(18, 4744), (26, 4616)])
def test_touching_glands_join(glands, tmp_path, connectivity, count):
    tables = measure(glands, tmp_path / "out", connectivity=connectivity).run()
    assert tables.materials["regions"].tolist() == [count]


@pytest.mark.slow
def test_root_system_is_one_region_through_many_blocks(labels_of, real_data, tmp_path):
    path = real_data("measure_big_sparse", "Cropped_prediction_8bit.npy.zip")
    with (
        zipfile.ZipFile(path) as archive,
        archive.open("Cropped_prediction_8bit.npy") as file,
    ):
        roots = (np.load(file) > 0).astype(np.uint8)
    labels = labels_of(roots, Spacing(1, 1, 1), Materials.numbered([1]))
    for connectivity, count, largest in ((6, 531, 557589), (26, 447, None)):
        tables = measure(labels, tmp_path / str(connectivity), connectivity=connectivity).run()
        assert len(tables.regions) == count
        assert tables.regions["voxels"].sum() == 672028
        if largest is not None:
            assert tables.regions["voxels"].max() == largest


@pytest.mark.slow
def test_phantom_leaf_has_its_volumes_and_surfaces(labels_of, tmp_path):
    """Volumes are those of its voxels, surfaces within 2 % of those of the leaf itself.

    Where cells touch, the air between them tapers to nothing, and what is narrower than a voxel is
    lost: a strip of fixed width in voxels along each crease. The surface that is missing halves
    with the spacing, which gives the leaf's own, and is checked with a third, coarser one.
    """
    steps = (0.5, 0.25, 0.125)
    coarse, middle, fine = (_phantom_materials(labels_of, tmp_path, step) for step in steps)
    leaf = 2 * fine["surface_um2"] - middle["surface_um2"]
    np.testing.assert_allclose(middle["surface_um2"], leaf, rtol=0.02)
    np.testing.assert_allclose(fine["surface_um2"], leaf, rtol=0.011)
    missing = leaf - coarse["surface_um2"], leaf - middle["surface_um2"]
    np.testing.assert_allclose(missing[0] / missing[1], 2, rtol=0.2)
    np.testing.assert_allclose(coarse["volume_um3"], fine["volume_um3"], rtol=0.002)


def _phantom_materials(labels_of, tmp_path, step):
    """The table of materials of a leaf of 8 x 240 x 240 um, sampled at `step` um."""
    shape = (int(8 / step), int(240 / step), int(240 / step))
    spacing = Spacing(step, step, step)
    truth = np.empty(shape, np.uint8)
    Phantom(shape, spacing).labels_into(0, shape[0], truth)
    labels = labels_of(truth, spacing, PHANTOM_MATERIALS, f"{step}.zarr")
    materials = measure(labels, tmp_path / str(step)).run().materials
    counts = np.bincount(truth.ravel(), minlength=7)[1:]
    assert materials["voxels"].tolist() == counts.tolist()
    np.testing.assert_allclose(materials["volume_um3"], counts * step**3, rtol=1e-12)
    return materials
