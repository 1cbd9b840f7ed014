"""Pictures of slices: grey images, label overlays in the materials' colours, data URIs.

Arrays are (rows, columns); pixels of an overlay are exactly a material's colour or transparent, so
that the page alone decides how strongly labels cover the scan.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xctvol.materials import Material

__all__ = ["display_range", "grey_image", "overlay_image", "to_data_uri"]

_PERCENTILES = (0.2, 99.8)
_QUALITY = 82


def display_range(planes: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """The grey values to show as black and white: one range for all planes of a scan.

    Stored bytes are shown as they are, as their window was chosen when they were made.
    """
    if all(plane.dtype == np.uint8 for plane in planes):
        return (0.0, 255.0)
    values = np.concatenate([plane.reshape(-1) for plane in planes]).astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return (0.0, 1.0)
    low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
    return (low, high if high > low else low + 1.0)


def grey_image(plane: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Grey values as 0..255 between `low` and `high`; NaN is black."""
    scaled = (plane.astype(np.float64) - low) * (255.0 / (high - low))
    image: NDArray[np.uint8] = np.rint(np.nan_to_num(scaled.clip(0, 255), nan=0.0)).astype(np.uint8)
    return image


def overlay_image(labels: NDArray[Any], materials: Sequence[Material]) -> NDArray[np.uint8]:
    """Red, green, blue, alpha of a plane of labels; what is no material is transparent."""
    image = np.zeros((*labels.shape, 4), np.uint8)
    for material in materials:
        image[labels == material.label] = (*material.rgb, 255)
    return image


def to_data_uri(image: NDArray[np.uint8]) -> str:
    """A WebP image inside an address: grey is compressed visibly well, colours exactly."""
    stream = io.BytesIO()
    exact = image.ndim == 3
    Image.fromarray(image).save(stream, "WEBP", lossless=exact, exact=exact, quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
