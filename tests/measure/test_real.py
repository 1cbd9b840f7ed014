"""Published segmentations with known answers."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from xctvol.materials import Materials
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.measure import measure
from xctvol.units import Spacing

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GLANDS = DATA / "measure_citrus_glands"
ROOTS = DATA / "measure_big_sparse"
CITRUS = Spacing(57.5, 57.5, 57.5)


def needs(folder: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not folder.exists(), reason=f"no {folder.name} in shared/data")


@pytest.fixture
def glands(labels_of):
    image = tifffile.imread(GLANDS / "WR05_CRC3605_18B-19-5_glands.tif")
    return labels_of((image > 0).astype(np.uint8), CITRUS, Materials.numbered([1]))


@needs(GLANDS)
def test_citrus_glands_are_those_of_the_authors(glands, tmp_path):
    tables = measure(glands, tmp_path / "out", connectivity=6).run()
    assert len(tables.regions) == 5018
    assert tables.materials["voxels"].tolist() == [290577]
    published = np.loadtxt(GLANDS / "WR05_CRC3605_18B-19-5_L03_glands.csv", delimiter=",")
    centroids = tables.regions[["centroid_z", "centroid_y", "centroid_x"]].to_numpy()
    np.testing.assert_allclose(centroids, published, rtol=0, atol=1e-9)


@needs(GLANDS)
@pytest.mark.slow
@pytest.mark.parametrize(("connectivity", "count"), [(18, 4744), (26, 4616)])
def test_touching_glands_join(glands, tmp_path, connectivity, count):
    tables = measure(glands, tmp_path / "out", connectivity=connectivity).run()
    assert tables.materials["regions"].tolist() == [count]


@needs(ROOTS)
@pytest.mark.slow
def test_root_system_is_one_region_through_many_blocks(labels_of, tmp_path):
    with (
        zipfile.ZipFile(ROOTS / "Cropped_prediction_8bit.npy.zip") as archive,
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
    """Volumes are those of its voxels, surfaces near those of the same leaf at half the spacing.

    The clefts between cells taper to nothing, so some of what mesophyll and air have in common is
    narrower than any voxel: their surfaces converge slowly.
    """
    tables = {}
    for step in (0.5, 0.25):
        shape = (int(8 / step), int(240 / step), int(240 / step))
        spacing = Spacing(step, step, step)
        truth = np.empty(shape, np.uint8)
        Phantom(shape, spacing).labels_into(0, shape[0], truth)
        labels = labels_of(truth, spacing, PHANTOM_MATERIALS, f"{step}.zarr")
        tables[step] = measure(labels, tmp_path / str(step)).run().materials
        counts = np.bincount(truth.ravel(), minlength=7)[1:]
        assert tables[step]["voxels"].tolist() == counts.tolist()
        np.testing.assert_allclose(tables[step]["volume_um3"], counts * step**3, rtol=1e-12)
    coarse, fine = tables[0.5], tables[0.25]
    np.testing.assert_allclose(coarse["volume_um3"], fine["volume_um3"], rtol=0.005)
    cleft = coarse["material"].isin(["mesophyll", "air space"])
    for rows, tolerance in ((~cleft, 0.02), (cleft, 0.03)):
        got, want = coarse["surface_um2"][rows], fine["surface_um2"][rows]
        np.testing.assert_allclose(got, want, rtol=tolerance)
