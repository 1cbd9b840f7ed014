"""NRRD files, which 3D Slicer, ParaView, ITK and Fiji read: a header in words, then the voxels.

The format: https://teem.sourceforge.net/nrrd/format.html
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.errors import UsageError
from xctvol.stages.export.picture import Picture

__all__ = ["Nrrd"]

_NAMES = {"float32": "float", "float64": "double"}
_MAGIC = b"NRRD000"
_KEY = "xctvol"
_HEADER_BYTES = 1 << 20


class Nrrd:
    """One file, little-endian and not compressed, axes x, y, z from the fastest on."""

    what = "NRRD file"

    def stored(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """How voxels of that type lie in the file; raises UsageError where they cannot."""
        if dtype.kind not in "uif" or dtype.itemsize < 1 or dtype.name == "float16":
            raise UsageError(f"NRRD has no type for {dtype}")
        return dtype.newbyteorder("<")

    def begin(self, path: Path, picture: Picture, recipe: Mapping[str, object]) -> None:
        """Write all but the voxels, for which there is room."""
        z, y, x = picture.box.shape
        sizes, origin = picture.spacing, picture.origin
        materials = None if picture.materials is None else picture.materials.to_json()
        said = json.dumps({"recipe": recipe, "materials": materials})
        lines = (
            "NRRD0005",
            f"type: {_NAMES.get(picture.dtype.name, picture.dtype.name)}",
            "dimension: 3",
            "space dimension: 3",
            f"sizes: {x} {y} {z}",
            f"space directions: ({sizes.x!r},0,0) (0,{sizes.y!r},0) (0,0,{sizes.z!r})",
            "kinds: domain domain domain",
            'space units: "um" "um" "um"',
            f"space origin: ({origin[2]!r},{origin[1]!r},{origin[0]!r})",
            "endian: little",
            "encoding: raw",
            f"{_KEY}:={_escaped(said)}",
        )
        header = "\n".join(lines).encode() + b"\n\n"
        with open(path, "wb") as file:
            file.write(header)
            file.truncate(len(header) + picture.nbytes)

    def offset(self, path: Path) -> int:
        """Where in the file the first voxel is."""
        header = _header(path)
        assert header is not None, path
        return len(header) + 2

    def recipe_in(self, path: Path) -> Mapping[str, object] | None:
        """The recipe of a file that was made so, as JSON; None for any other file."""
        for line in (_header(path) or b"").decode(errors="replace").split("\n"):
            key, is_ours, value = line.partition(":=")
            if is_ours and key == _KEY:
                try:
                    recipe = json.loads(_plain(value))["recipe"]
                except (ValueError, KeyError, TypeError):
                    return None
                return recipe if isinstance(recipe, dict) else None
        return None


def _header(path: Path) -> bytes | None:
    with open(path, "rb") as file:
        head, end, _ = file.read(_HEADER_BYTES).partition(b"\n\n")
    return head if head.startswith(_MAGIC) and end else None


def _escaped(text: str) -> str:
    """JSON has no line breaks; what is left of the format's escapes are backslashes."""
    return text.replace("\\", "\\\\")


def _plain(text: str) -> str:
    return text.replace("\\\\", "\\")
