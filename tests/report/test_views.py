import base64
import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from xctvol.labels import Labels
from xctvol.materials import Materials
from xctvol.stages.report.views import contact_sheet, largest_plane, orthoslices
from xctvol.units import Spacing
from xctvol.volume import Volume


@dataclass
class InMemory:
    """An array as volumes have them, which counts the voxels that are read."""

    voxels: np.ndarray
    read: int = 0

    @property
    def shape(self):
        return self.voxels.shape

    @property
    def dtype(self):
        return self.voxels.dtype

    def read_into(self, box, out):
        self.read += box.size
        out[...] = self.voxels[box.slices]


def pyramid(shape, levels, dtype=np.uint8):
    """Noise of `shape`, and every second voxel of it, and of that, at `levels` levels."""
    voxels = np.random.default_rng(5).integers(0, 3, shape).astype(dtype)
    arrays = tuple(InMemory(voxels[:: 2**n, :: 2**n, :: 2**n]) for n in range(levels))
    return Volume("scan.zarr", arrays, (Spacing(2.0, 1.0, 0.5),), {})


MATERIALS = Materials.from_json(
    [{"name": "soil", "mask": 0, "color": "#aa0000"}, {"name": "pore", "mask": 1}]
)


def views(volume, make=orthoslices):
    return make(replace(volume, path="scan"), Labels(volume, MATERIALS, volume))


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def soil(view):
    """Where the overlay shows the first material."""
    return (pixels(view.overlay) == (0xAA, 0, 0, 255)).all(axis=-1)


def test_planes_cut_through_the_centre_and_lie_as_they_say():
    volume = pyramid((10, 12, 14), 1)
    voxels = volume.levels[0].voxels
    xy, xz, yz = views(volume)
    assert (xy.name, xz.name, yz.name) == ("xy", "xz", "yz")
    np.testing.assert_array_equal(soil(xy), voxels[5] == 1)
    np.testing.assert_array_equal(soil(xz), voxels[:, 6] == 1)
    np.testing.assert_array_equal(soil(yz), voxels[:, :, 7].T == 1)


def test_planes_know_their_size_in_um_and_where_the_others_cut():
    xy, xz, yz = views(pyramid((10, 12, 14), 1))
    assert (xy.width_um, xy.height_um) == (7, 12)
    assert (xz.width_um, xz.height_um) == (7, 20)
    assert (yz.width_um, yz.height_um) == (20, 12)
    assert (xy.across, xy.down) == (7.5 / 14, 6.5 / 12)
    assert (yz.across, yz.down) == (5.5 / 10, 6.5 / 12)
    assert xz.position.replace("\N{NO-BREAK SPACE}", " ") == "y = 6 (6 µm)"


def test_slices_of_the_sheet_are_evenly_spaced():
    volume = pyramid((50, 8, 8), 1)
    sheet = views(volume, contact_sheet)
    assert [int(view.position.split()[2]) for view in sheet] == [2 + 25 * i // 6 for i in range(12)]
    for view in sheet:
        z = int(view.position.split()[2])
        np.testing.assert_array_equal(soil(view), volume.levels[0].voxels[z] == 1)


def test_a_thin_stack_shows_each_slice_once():
    sheet = views(pyramid((3, 8, 8), 1), contact_sheet)
    assert [view.position.split()[2] for view in sheet] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("width", "levels", "level"), [(800, 2, 0), (1798, 2, 0), (1800, 2, 1), (4000, 3, 2)]
)
def test_planes_come_from_the_coarsest_level_that_fills_a_page(width, levels, level):
    volume = pyramid((2, 2, width), levels)
    views(volume)
    assert [array.read > 0 for array in volume.levels] == [n == level for n in range(levels)]


def test_a_coarse_level_shows_the_same_place():
    volume = pyramid((8, 6, 2000), 2)
    xy, xz, _ = views(volume)
    np.testing.assert_array_equal(soil(xy), volume.levels[1].voxels[2] == 1)
    np.testing.assert_array_equal(soil(xz), volume.levels[1].voxels[:, 1] == 1)


def test_a_volume_without_levels_is_thinned_out():
    volume = pyramid((1, 3, 5000), 1)
    xy, _, _ = views(volume)
    np.testing.assert_array_equal(soil(xy), volume.levels[0].voxels[0, ::3, ::3] == 1)
    assert pixels(xy.grey).shape[1] <= 1800


def test_only_planes_are_read():
    volume = pyramid((64, 64, 64), 1)
    views(volume)
    views(volume, contact_sheet)
    assert volume.levels[0].read == 2 * (3 + 12) * 64 * 64, "once for the grey, once for labels"


def test_the_largest_plane_is_known_before_it_is_read():
    assert largest_plane(pyramid((4, 30, 50), 1)) == 1500
    assert largest_plane(pyramid((4, 30, 2000), 2)) == 15 * 1000


def test_few_pixels_are_shown_as_squares():
    assert views(pyramid((4, 30, 50), 1))[0].coarse
    assert not views(pyramid((4, 30, 500), 1))[0].coarse


def test_floats_are_shown_in_their_own_range():
    volume = replace(pyramid((4, 30, 50), 1, np.float32), path="scan")
    labels = Labels(pyramid((4, 30, 50), 1), MATERIALS, None)
    xy, _, _ = orthoslices(volume, labels)
    assert pixels(xy.grey).min() < 20
    assert pixels(xy.grey).max() > 235


def test_labels_of_no_scan_have_no_grey():
    volume = pyramid((4, 30, 50), 1)
    xy, _, _ = orthoslices(volume, Labels(volume, MATERIALS, None))
    assert xy.grey == ""
    np.testing.assert_array_equal(soil(xy), volume.levels[0].voxels[2] == 1)


def test_labels_may_have_other_levels_than_the_scan():
    scan, found = pyramid((4, 30, 2000), 2), pyramid((4, 30, 2000), 1)
    scan = replace(scan, path="scan")
    xy, _, _ = orthoslices(scan, Labels(found, MATERIALS, scan))
    assert pixels(xy.grey).shape[:2] == (15, 1000)
    np.testing.assert_array_equal(soil(xy), found.levels[0].voxels[2, ::2, ::2] == 1)
