"""A model card against a scan: what does not fit is said, what fits is not."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale, Training
from xctvol.model.suitability import doubts, stored_grey
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.train.greys import grey_scale
from xctvol.units import Spacing
from xctvol.volume import Percentiles, Window

TRAINING = Training({}, 0, (), (), (), 1, {"running": 0.9}, "running", {})


@pytest.fixture
def scan():
    """A stack whose slices differ a little, as those of a scan do."""
    rng = np.random.default_rng(0)
    mean = 20000 + 1500 * np.sin(np.arange(12) / 3)
    return rng.normal(mean[:, None, None], 4000, (12, 40, 50)).clip(0, 60000).astype(np.uint16)


def volume_of(voxels, tmp_path, window=None, spacing=(2, 1, 1)):
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    source = open_source(tmp_path / "a.tif", spacing=Spacing(*spacing))
    return convert(source, tmp_path / "a.zarr", window=window).run()


def card_of(images, spacing_um=(2.0, 1.0, 1.0)):
    materials = Materials.numbered((1, 2))
    return Card("unet", materials, grey_scale(images), spacing_um=spacing_um, training=TRAINING)


@pytest.mark.parametrize("window", [None, Percentiles(0.1, 99.9), Window(0, 60000)])
def test_a_model_of_some_slices_of_the_scan_fits(scan, tmp_path, window):
    assert doubts(volume_of(scan, tmp_path, window), card_of(scan[::4])) == ()


def test_a_model_of_the_stored_grey_values_fits(scan, tmp_path):
    volume = volume_of(scan, tmp_path, Percentiles(0.1, 99.9))
    stored = np.stack([volume.window.stored(image[None])[0].copy() for image in scan[::4]])
    assert doubts(volume, card_of(stored)) == ()


@pytest.mark.parametrize("window", [None, Percentiles(0.1, 99.9)])
def test_another_brightness_or_contrast_is_told(scan, tmp_path, window):
    volume = volume_of(scan, tmp_path, window)
    (brighter,) = doubts(volume, card_of(scan[::4] - scan.min() // 2 - 3000))
    assert "brighter than the training slices" in brighter
    flat = (20000 + (scan.astype(float) - 20000) / 2).astype(np.uint16)
    told = doubts(volume, card_of(flat))
    assert any("lie outside the grey values" in doubt for doubt in told)
    assert any("times their contrast" in doubt for doubt in told)


def test_grey_values_of_an_imported_model_are_not_compared(scan, tmp_path):
    card = replace(card_of(scan[::4]), training=None)
    dark = replace(card, grey=replace(card.grey, mean=0.001, std=0.001))
    assert doubts(volume_of(scan, tmp_path), dark) == ()


@pytest.mark.parametrize(("size", "told"), [(1.09, 0), (0.92, 0), (1.2, 1), (0.5, 1)])
def test_another_voxel_size_is_told(scan, tmp_path, size, told):
    volume = volume_of(scan, tmp_path)
    found = doubts(volume, card_of(scan[::4], (2.0, 1.0, size)))
    assert len(found) == told
    assert all("voxels of 2 x 1 x" in doubt for doubt in found)


def test_types_that_cannot_be_compared_are_refused(scan, tmp_path):
    card = replace(card_of(scan), grey=GreyScale("float32", Window(0, 1), 0.4, 0.2))
    volume = volume_of(scan, tmp_path)
    for ask in (doubts, stored_grey):
        with pytest.raises(InputError, match="trained on slices of float32"):
            ask(volume, card)
