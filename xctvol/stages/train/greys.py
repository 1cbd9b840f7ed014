"""The grey scale of a training: window, mean and standard deviation of its images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.model.card import GreyScale
from xctvol.volume.window import Histogram, Percentiles, Window

__all__ = ["grey_scale"]

_PERCENTILES = Percentiles(0.1, 99.9)


def grey_scale(images: Sequence[NDArray[Any]]) -> GreyScale:
    """Statistics over all pixels of `images` (y, x), which have one data type.

    8-bit images keep their whole range as window; others get the range between the 0.1 and the
    99.9 percentile. Raises InputError for images of one grey value.
    """
    window = _window(images)
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        grey = (image.astype(np.float64) - window.low) / (window.high - window.low)
        np.clip(grey, 0, 1, out=grey)
        count += grey.size
        total += float(grey.sum())
        squares += float(np.square(grey).sum())
    mean = total / count
    variance = squares / count - mean * mean
    if variance < 1e-12:
        raise InputError("all training images have one and the same grey value: nothing to learn")
    return GreyScale(images[0].dtype.name, window, mean, variance**0.5)


def _window(images: Sequence[NDArray[Any]]) -> Window:
    if images[0].dtype == np.uint8:
        return Window(0.0, 255.0)
    counts = Histogram.of(images[0][None])
    for image in images[1:]:
        counts += Histogram.of(image[None])
    return counts.window(_PERCENTILES)
