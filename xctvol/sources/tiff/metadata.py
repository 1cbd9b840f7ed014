"""What a TIFF file says of itself: how many slices it has, and how large a voxel is."""

import math
from pathlib import Path
from typing import Any

from tifffile import TiffFile, TiffPage, xml2dict

from xctvol.errors import InputError
from xctvol.sources.tags import centimetre_spacing, imagej_spacing, ome_spacing
from xctvol.sources.tiff.pixels import is_plain
from xctvol.units import Spacing

__all__ = ["declared_slices", "imagej_images", "stated_spacing"]

_CENTIMETRE = 3


def declared_slices(path: Path, tiff: TiffFile, first: TiffPage, pages: int) -> int:
    """Slices by the file's own account where it gives one, else its pages.

    A single plain page may stand for many: ImageJ writes so what does not fit into 4 GB. Else
    raises InputError where the file holds fewer pages than it says.
    """
    declared = _declared(path, tiff, first) or pages
    if declared > pages and not (pages == 1 and is_plain(first)):
        raise InputError(
            f"{path} says that it has {declared} slices, but holds {pages}; it was cut short, or "
            "the others are in more files"
        )
    return max(declared, pages)


def imagej_images(tiff: TiffFile) -> int:
    """Slices that ImageJ says the file has, or 0: it may have written one page for all."""
    return int((tiff.imagej_metadata or {}).get("images", 0))


def _declared(path: Path, tiff: TiffFile, first: TiffPage) -> int:
    if tiff.is_imagej:
        metadata = tiff.imagej_metadata or {}
        _refuse_channels(path, metadata.get("channels", 1), metadata.get("frames", 1))
        return imagej_images(tiff)
    if tiff.is_ome:
        pixels = _ome_pixels(tiff)
        _refuse_channels(path, pixels.get("SizeC", 1), pixels.get("SizeT", 1))
        return int(pixels.get("SizeZ", 0))
    if tiff.shaped_metadata:
        return math.prod(tiff.shaped_metadata[0]["shape"]) // math.prod(first.shape)
    return 0


def _refuse_channels(path: Path, channels: int, frames: int) -> None:
    if channels > 1 or frames > 1:
        raise InputError(
            f"{path} has {channels} channels and {frames} time frames; a scan has one of each: "
            "save the wanted one, with its slices along z"
        )


def stated_spacing(path: Path, tiff: TiffFile, page: TiffPage) -> tuple[Spacing | None, str]:
    """The voxel size that the file states believably, and what states it."""
    per_unit = (_per_unit(page, "XResolution"), _per_unit(page, "YResolution"))
    if tiff.is_imagej:
        what, stated = "ImageJ tag", imagej_spacing(tiff.imagej_metadata or {}, per_unit)
    elif tiff.is_ome:
        what, stated = "OME-XML", ome_spacing(_ome_pixels(tiff))
    elif page.resolutionunit == _CENTIMETRE:
        what, stated = "resolution tag", centimetre_spacing(per_unit)
    else:
        return None, ""
    if stated is None:
        return None, ""
    spacing, remark = stated
    return spacing, f"{what} in {path.name}{remark}"


def _per_unit(page: TiffPage, name: str) -> float:
    """Pixels per unit of length, or 0 where the tag is absent or nonsense."""
    tag = page.tags.get(name)
    if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or not tag.value[1]:
        return 0.0
    return float(tag.value[0] / tag.value[1])


def _ome_pixels(tiff: TiffFile) -> dict[str, Any]:
    """Attributes of the first Pixels element, numbers as numbers."""
    image = xml2dict(tiff.ome_metadata or "<OME/>").get("OME", {}).get("Image", {})
    first = image[0] if isinstance(image, list) else image
    pixels = first.get("Pixels", {})
    return pixels if isinstance(pixels, dict) else {}
