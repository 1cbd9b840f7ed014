import pickle

import numpy as np
import pytest
from scipy import ndimage

from xctvol.errors import UsageError
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom, parse_phantom
from xctvol.units import Spacing


def labels_of(phantom, z0=0, z1=None):
    z1 = phantom.shape[0] if z1 is None else z1
    out = np.full((z1 - z0, *phantom.shape[1:]), 99, np.uint8)
    phantom.labels_into(z0, z1, out)
    return out


def greys_of(phantom, z0=0, z1=None):
    z1 = phantom.shape[0] if z1 is None else z1
    out = np.zeros((z1 - z0, *phantom.shape[1:]), np.uint16)
    phantom.read_into(z0, z1, out)
    return out


@pytest.fixture(scope="module")
def leaf():
    """Labels of every fourth slice of the default phantom, and their grey values."""
    phantom = Phantom((96, 320, 320))
    slices = range(0, 96, 4)
    labels = np.concatenate([labels_of(phantom, z, z + 1) for z in slices])
    return labels, np.concatenate([greys_of(phantom, z, z + 1) for z in slices])


def test_the_same_seed_gives_the_same_voxels_and_another_seed_others():
    shape = (4, 64, 72)
    again = pickle.loads(pickle.dumps(Phantom(shape, seed=3)))
    np.testing.assert_array_equal(labels_of(Phantom(shape, seed=3)), labels_of(again))
    np.testing.assert_array_equal(greys_of(Phantom(shape, seed=3)), greys_of(again))
    assert np.mean(labels_of(Phantom(shape, seed=4)) != labels_of(again)) > 0.05
    assert np.mean(greys_of(Phantom(shape, seed=4)) != greys_of(again)) > 0.9


def test_a_slice_does_not_depend_on_the_range_asked_for():
    phantom = Phantom((20, 80, 70), seed=1)
    labels, greys = labels_of(phantom), greys_of(phantom)
    for z0, z1 in ((0, 1), (7, 12), (19, 20)):
        np.testing.assert_array_equal(labels_of(phantom, z0, z1), labels[z0:z1])
        np.testing.assert_array_equal(greys_of(phantom, z0, z1), greys[z0:z1])


def test_finer_spacing_samples_the_same_leaf():
    """Centres of coarse voxels are centres of every third fine voxel."""
    coarse = Phantom((6, 60, 80), Spacing(6, 6, 6), seed=2)
    fine = Phantom((18, 180, 240), Spacing(2, 2, 2), seed=2)
    np.testing.assert_array_equal(labels_of(coarse), labels_of(fine)[1::3, 1::3, 1::3])


@pytest.mark.parametrize("shape", [(96, 320, 320), (64, 256, 256), (128, 512, 512)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_material_is_well_present(shape, seed):
    phantom = Phantom(shape, seed=seed)
    slices = range(5, shape[0], shape[0] // 4)
    labels = np.concatenate([labels_of(phantom, z, z + 1) for z in slices])
    counts = np.bincount(labels.ravel(), minlength=7)
    assert len(counts) == 7
    assert counts[0] == 0
    assert (counts[1:] / labels.size).min() > 0.015
    assert PHANTOM_MATERIALS.labels == (1, 2, 3, 4, 5, 6)
    assert PHANTOM_MATERIALS.names == (
        "background", "epidermis", "mesophyll", "air space", "bundle sheath extension", "vein",
    )  # fmt: skip


def test_it_is_built_like_a_leaf(leaf):
    """Epidermis shuts the inside off, veins lie in their sheath, air spaces are connected."""
    labels, _ = leaf
    for plane in labels:
        background = plane == 1
        touched = plane[ndimage.binary_dilation(background) & ~background]
        assert set(touched) == {2}
        vein = plane == 6
        around = plane[ndimage.binary_dilation(vein) & ~vein]
        assert set(around) <= {5}
        assert ndimage.label(background)[1] == 2
    volume = labels_of(Phantom((24, 160, 160), Spacing(4, 4, 4)))
    spaces, _ = ndimage.label(volume == 4)
    largest = np.sort(np.bincount(spaces.ravel())[1:])[-3:]  # two veins divide the leaf
    assert largest.sum() > 0.95 * np.count_nonzero(volume == 4)


def test_greys_tell_materials_apart_only_together_with_their_place(leaf):
    labels, greys = leaf
    means = {m.name: greys[labels == m.label].mean() for m in PHANTOM_MATERIALS}
    spread = greys[labels == 1].std()
    assert means["background"] + 0.5 * spread < means["air space"] < means["mesophyll"]
    assert means["bundle sheath extension"] < means["mesophyll"] < means["epidermis"]
    assert means["epidermis"] < means["vein"]
    gap = means["mesophyll"] - means["bundle sheath extension"]
    assert 1.5 * spread < gap < 4 * spread  # one voxel does not tell, a few together do
    dark = np.isin(labels, (1, 4))
    outside, grey = labels[dark] == 1, greys[dark]
    best = max(np.mean((grey < level) == outside) for level in range(9000, 18000, 500))
    assert best < 0.97  # no threshold tells air inside from air outside


def test_noise_is_new_in_every_slice_and_rings_are_not():
    phantom = Phantom((40, 64, 64))
    outside = greys_of(phantom)[:, :8].astype(float)  # above the leaf
    assert np.all(labels_of(phantom)[:, :8] == 1)
    assert np.corrcoef(outside[0].ravel(), outside[1].ravel())[0, 1] < 0.5
    steady = outside.mean(0)
    left, right = steady[:, :32], steady[:, :31:-1]
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.3


def test_its_card():
    phantom = parse_phantom("96x320x320?seed=7")
    assert phantom.identity() != Phantom((96, 320, 320)).identity()
    assert phantom.files == ()
    assert "seed 7" in phantom.summary()[0]
    rgb = {m.name: m.rgb for m in PHANTOM_MATERIALS}
    assert rgb["air space"] == (255, 255, 255)
    assert rgb["background"] == (0, 0, 0)


def test_cells_that_reach_a_section_are_never_left_out():
    """Cells are looked for in the nearest lattice planes only; slices stay alike across planes."""
    fine = Phantom((120, 48, 48), Spacing(0.5, 6, 6), seed=5)
    labels = labels_of(fine)
    changes = np.mean(labels[1:] != labels[:-1], axis=(1, 2))
    assert changes.max() < 0.05


def test_impossible_phantoms_are_refused():
    for wrong in ({"shape": (0, 4, 4)}, {"shape": (4, 4, 4), "seed": -1}):
        with pytest.raises(UsageError):
            Phantom(**wrong)
