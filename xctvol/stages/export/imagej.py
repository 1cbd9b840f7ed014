"""TIFF files as ImageJ writes them, with the voxel size in its words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from xctvol.errors import UsageError
from xctvol.files import staged
from xctvol.materials import Materials
from xctvol.stages.export.picture import Picture
from xctvol.units import Spacing

__all__ = ["ImageJStack", "colormap", "require_imagej", "write_imagej"]

_LARGEST = 2**32  # bytes that a file can have whose slices each have an entry
_ENTRY_BYTES = 4096  # of a slice, at most: its tags, and the description
_RECIPE = "xctvol"


def write_imagej(
    path: Path, image: NDArray[Any], spacing: Spacing, colors: NDArray[np.uint16] | None = None
) -> None:
    """Write one slice (y, x) of uint8, uint16 or float32, whole or not at all.

    `colors` (3, 256) are those of uint8 values.
    """
    with staged(path) as partial:
        tifffile.imwrite(
            partial,
            image,
            imagej=True,
            resolution=(1 / spacing.x, 1 / spacing.y),
            metadata={"unit": "um", "spacing": spacing.z},
            colormap=colors,
        )


def require_imagej(dtype: np.dtype[Any]) -> None:
    """Raise UsageError for a type of voxels that ImageJ does not have."""
    if dtype.name not in ("uint8", "uint16", "float32"):
        raise UsageError(
            f"ImageJ has no images of {dtype}, only of uint8, uint16 and float32; export to .nrrd, "
            "which has all types"
        )


def colormap(materials: Materials) -> NDArray[np.uint16]:
    """Colours (3, 256) of label values; what no material has is black."""
    found = np.zeros((3, 256), np.uint16)
    for material in materials:
        if material.label < 256:
            found[:, material.label] = np.multiply(material.rgb, 257)
    return found


class ImageJStack:
    """One file of all slices, which lie one behind the other in it.

    Each has an entry of its own, for any reader of TIFF, unless they need 4 GB or more; then only
    the first has one, and the description says how many follow, as in large files of ImageJ.
    """

    what = "TIFF stack"

    def stored(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """How voxels of that type lie in the file; raises UsageError where they cannot."""
        require_imagej(dtype)
        return dtype.newbyteorder(">")

    def begin(self, path: Path, picture: Picture, recipe: Mapping[str, object]) -> None:
        """Write all but the voxels, for which there is room."""
        shape, spacing, materials = picture.box.shape, picture.spacing, picture.materials
        with tifffile.TiffWriter(path, imagej=True, byteorder=">") as file:
            file.write(
                shape=shape,
                dtype=self.stored(picture.dtype),
                resolution=(1 / spacing.x, 1 / spacing.y),
                colormap=colormap(materials) if materials and picture.dtype == "uint8" else None,
                metadata={
                    "axes": "ZYX",
                    "unit": "um",
                    "spacing": spacing.z,
                    "Info": json.dumps({_RECIPE: recipe}),
                },
                truncate=picture.nbytes + shape[0] * _ENTRY_BYTES >= _LARGEST,
            )

    def offset(self, path: Path) -> int:
        """Where in the file the first voxel is."""
        with tifffile.TiffFile(path) as file:
            return int(file.pages.first.dataoffsets[0])

    def recipe_in(self, path: Path) -> Mapping[str, object] | None:
        """The recipe of a file that was made so, as JSON; None for any other file."""
        try:
            with tifffile.TiffFile(path) as file:
                said = json.loads((file.imagej_metadata or {})["Info"])[_RECIPE]
        except Exception:  # noqa: BLE001 - a file of any kind, for which the library raises anything
            return None
        return said if isinstance(said, dict) else None
