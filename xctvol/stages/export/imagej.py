"""TIFF files as ImageJ writes them, with the voxel size in its words."""

from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray

from xctvol.files import staged
from xctvol.units import Spacing

__all__ = ["write_imagej"]


def write_imagej(path: Path, image: NDArray[Any], spacing: Spacing) -> None:
    """Write one slice (y, x) of uint8, uint16 or float32, whole or not at all."""
    with staged(path) as partial:
        tifffile.imwrite(
            partial,
            image,
            imagej=True,
            resolution=(1 / spacing.x, 1 / spacing.y),
            metadata={"unit": "um", "spacing": spacing.z},
        )
