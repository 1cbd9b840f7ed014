"""What a pixel forest knows of a pixel: its grey value, and its surroundings at several scales.

After Gaussians of 0.5, 1, 2, 4, 8 and 16 px: grey value, gradient magnitude (Sobel) and both
eigenvalues of the Hessian, by `skimage.feature.multiscale_basic_features`. These are the features
that Trainable Weka Segmentation and ilastik offer first.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import multiscale_basic_features

__all__ = ["FEATURES", "feature_bands", "feature_bytes"]

_SIGMA_MIN, _SIGMA_MAX, _SIGMAS = 0.5, 16, 6
FEATURES = 1 + 4 * _SIGMAS

_HALO = 4 * _SIGMA_MAX + 2  # a Gaussian is cut off at 4 sigma; second differences need 2 px more
_BAND_PIXELS = 1 << 20
_PIXEL_BYTES = 6 * FEATURES * 4  # of scales, stacked, cropped, of the band before, and on the way

Features = NDArray[np.float32]
"""(pixels, FEATURES), the rows of an image one after the other."""


def feature_bands(image: NDArray[Any]) -> Iterator[tuple[slice, Features]]:
    """Bands of rows of an image (y, x) from top to bottom, with the features of their pixels.

    A band's features are those that it has in the whole image, of which the outermost pixels go on
    beyond its border.
    """
    padded = np.pad(image, _HALO, mode="edge")
    height, width = image.shape
    step = _band_rows(width)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        around = multiscale_basic_features(
            padded[rows.start : rows.stop + 2 * _HALO], sigma_min=_SIGMA_MIN, sigma_max=_SIGMA_MAX
        )
        grey = image[rows, :, None].astype(np.float32)
        inside = around[_HALO:-_HALO, _HALO:-_HALO]
        yield rows, np.concatenate([grey, inside], axis=-1).reshape(-1, FEATURES)


def feature_bytes(size: tuple[int, int]) -> int:
    """Bytes that the features of a band of an image of `size` (y, x) take at most."""
    rows = min(size[0], _band_rows(size[1])) + 2 * _HALO
    return _PIXEL_BYTES * rows * (size[1] + 2 * _HALO)


def _band_rows(width: int) -> int:
    """Rows of a band: never so few that most of what is computed is thrown away."""
    return max(2 * _HALO, _BAND_PIXELS // width)
