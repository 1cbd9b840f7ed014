"""CVAT's "CVAT for images 1.1": one XML file with the polygons and masks of all images.

Shapes of higher z_order lie over those of lower ones; of equal ones, later over earlier. CVAT has
no shapes with holes: a shape labelled "background" above another one is its hole.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException, ElementTree

from xctvol.annotations.base import IGNORE, Indices, Size, check_size
from xctvol.annotations.names import refuse_unknown, shows_or_hole
from xctvol.annotations.outlines import Patch, fill
from xctvol.errors import InputError
from xctvol.materials import Materials
from xctvol.sources.base import file_bytes, readable

__all__ = ["Shapes", "annotated_images"]

_MAX_BYTES = 1 << 28  # the parsed file takes about ten times as much memory
_AREAS = ("polygon", "mask")


@dataclass(frozen=True)
class Shapes:
    """The shapes of the image `name`, as the file calls it."""

    path: Path
    name: str

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, size: Size, materials: Materials) -> Indices:
        image = _images(self.path)[self.name]
        where = f"{self.path}, image {self.name!r}"
        try:
            check_size(self.path, (int(image.attrib["height"]), int(image.attrib["width"])), size)
            shapes = [shape for shape in image if shape.tag != "tag"]
            _refuse_lines(shapes)
            shapes.sort(key=lambda shape: int(shape.get("z_order", 0)))
            labels = [shape.attrib["label"] for shape in shapes]
            found = [shows_or_hole(materials, label) for label in labels]
            unknown = (name for name, i in zip(labels, found, strict=True) if i is None)
            refuse_unknown("the labels", unknown, materials)
            indices = np.full(size, IGNORE, np.uint8)
            for shape, index in zip(shapes, found, strict=True):
                assert index is not None
                _PATCHES[shape.tag](shape.attrib, size).paint(indices, index)
            return indices
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except (KeyError, ValueError) as error:
            raise InputError(f"{where}: a shape is damaged: {error!r}") from error


def annotated_images(path: Path) -> tuple[str, ...]:
    """The names of the images that have shapes, as the file gives them.

    Raises InputError for XML of another kind, and for XML that defines entities: those of a few
    lines can grow to any size, or stand for other files.
    """
    return tuple(name for name, image in _images(path).items() if len(image))


def _images(path: Path) -> dict[str, Element]:
    if file_bytes(path) > _MAX_BYTES:
        raise InputError(f"{path} is too large; export fewer images at a time")
    try:
        with readable(path):
            root = ElementTree.parse(path, forbid_dtd=True).getroot()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError(f"cannot read {path} as XML of CVAT: {error}") from error
    if root.find("track") is not None:
        raise InputError(f"{path} was exported for video; export it as 'CVAT for images 1.1'")
    images = {image.get("name", ""): image for image in root.iter("image")}
    if root.tag != "annotations" or not images:
        raise InputError(f"{path} is not an export of CVAT: no annotated images are in it")
    return images


def _refuse_lines(shapes: list[Element]) -> None:
    others = Counter(shape.tag for shape in shapes if shape.tag not in _AREAS)
    if others:
        shown = ", ".join(f"{count} {tag}" for tag, count in others.most_common())
        raise InputError(
            f"{shown}: only polygons and masks say which pixels belong to a material; redraw or "
            "delete the others"
        )


def _polygon(shape: Mapping[str, str], size: Size) -> Patch:
    corners = [point.split(",") for point in shape["points"].split(";")]
    ring = np.array(corners, np.float64).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise ValueError(f"polygon {shape['label']!r} has corners that are not numbers")
    return _inside(fill([ring], size), shape)


def _mask(shape: Mapping[str, str], size: Size) -> Patch:
    """Run lengths over the rows of a box, outside and inside in turn, beginning outside."""
    left, top, width, height = (int(shape[key]) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in shape["rle"].split(",")]
    if min(left, top, *counts) < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError(f"mask {shape['label']!r} does not lie inside the image")
    if sum(counts) != width * height:
        raise ValueError(
            f"mask {shape['label']!r} of {width} x {height} pixels has runs of {sum(counts)}"
        )
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return _inside(Patch((top, left), inside.reshape(height, width)), shape)


def _inside(patch: Patch, shape: Mapping[str, str]) -> Patch:
    if not patch.inside.size:
        raise InputError(
            f"a shape labelled {shape['label']!r} lies outside the image; delete it in CVAT"
        )
    return patch


_PATCHES = {"polygon": _polygon, "mask": _mask}
