"""GLB files: surfaces with names and colours in one binary file (glTF 2.0).

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import PlanError
from xctvol.materials import Material
from xctvol.stages.export.surfaces import Surface
from xctvol.units import format_bytes

__all__ = ["LARGEST", "encode_glb", "recipe_in_glb", "refuse_large"]

LARGEST = 2**32 - 1
"""Bytes that a file can have: it says its length in 32 bits."""

_MAGIC, _VERSION = b"glTF", 2
_JSON, _BINARY = b"JSON", b"BIN\0"
_FLOAT, _UINT = 5126, 5125
_CORNERS, _FACES = 34962, 34963  # what a part of the buffer is for
_MOST_JSON = 1 << 24


class _Buffer:
    """Arrays one behind the other, each with what says where it is and what it holds."""

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def add_vectors(self, array: NDArray[np.float32]) -> int:
        """The number of an array (n, 3), by which it is referred to."""
        bounds = {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        return self._add(array.astype("<f4", copy=False), "VEC3", _FLOAT, _CORNERS, bounds)

    def add_faces(self, array: NDArray[np.uint32]) -> int:
        """The number of the corners of all faces."""
        return self._add(array.ravel().astype("<u4", copy=False), "SCALAR", _UINT, _FACES, {})

    def _add(
        self, array: NDArray[Any], kind: str, component: int, target: int, bounds: dict[str, Any]
    ) -> int:
        place = {"buffer": 0, "byteOffset": self.nbytes, "byteLength": array.nbytes}
        self.views.append({**place, "target": target})
        self.parts.append(np.ascontiguousarray(array).data)
        number = len(self.accessors)
        holds = {"componentType": component, "type": kind, "count": len(array), **bounds}
        self.accessors.append({"bufferView": number, **holds})
        return number


def encode_glb(
    surfaces: Sequence[tuple[Material, Surface]], recipe: Mapping[str, object]
) -> list[bytes | memoryview]:
    """Parts of a file, in order; one unit of length is a micrometre, which a note in it says."""
    buffer = _Buffer()
    meshes = [
        {"name": material.name, "primitives": [_drawn(surface, number, buffer)]}
        for number, (material, surface) in enumerate(surfaces)
    ]
    about = {"unit": "micrometer", "recipe": recipe}
    scene = {
        "asset": {"version": "2.0", "generator": "xctvol", "extras": about},
        "scene": 0,
        "scenes": [{"nodes": [*range(len(meshes))]}],
        "nodes": [{"name": mesh["name"], "mesh": n} for n, mesh in enumerate(meshes)],
        "meshes": meshes,
        "materials": [_painted(material) for material, _ in surfaces],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.nbytes}],
    }
    return list(_container(json.dumps(scene).encode(), buffer.parts))


def refuse_large(nbytes: int) -> None:
    """Raise PlanError where so many bytes do not fit into a file."""
    if nbytes > LARGEST:
        raise PlanError(
            f"the surfaces take {format_bytes(nbytes)} or more, but no GLB file can have more than "
            f"{format_bytes(LARGEST)}; use a coarser --level, or write each --material to a file "
            "of its own"
        )


def _drawn(surface: Surface, material: int, buffer: _Buffer) -> dict[str, Any]:
    corners, normals = map(buffer.add_vectors, (surface.corners, surface.normals))
    return {
        "attributes": {"POSITION": corners, "NORMAL": normals},
        "indices": buffer.add_faces(surface.faces),
        "material": material,
    }


def _container(scene: bytes, buffers: Sequence[memoryview]) -> Iterator[bytes | memoryview]:
    """The two chunks, each of whole words of four bytes."""
    scene += b" " * (-len(scene) % 4)
    binary = sum(part.nbytes for part in buffers)  # of words already
    total = 12 + 8 + len(scene) + 8 + binary
    refuse_large(total)
    yield struct.pack("<4sII", _MAGIC, _VERSION, total)
    yield struct.pack("<I4s", len(scene), _JSON) + scene
    yield struct.pack("<I4s", binary, _BINARY)
    yield from buffers


def _painted(material: Material) -> dict[str, Any]:
    """Colours of glTF are linear, those of materials are sRGB (IEC 61966-2-1)."""
    shown = np.array(material.rgb) / 255
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return {
        "name": material.name,
        "doubleSided": True,
        "pbrMetallicRoughness": {
            "baseColorFactor": [*linear.round(6).tolist(), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 0.7,
        },
    }


def recipe_in_glb(path: Path) -> Mapping[str, object] | None:
    """The recipe of a file that was made so, as JSON; None for any other file."""
    with open(path, "rb") as file:
        head = file.read(20)
        if len(head) < 20 or head[:4] != _MAGIC or head[16:] != _JSON:
            return None
        length = struct.unpack("<I", head[12:16])[0]
        scene = file.read(min(length, _MOST_JSON))
    try:
        recipe = json.loads(scene)["asset"]["extras"]["recipe"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return recipe if isinstance(recipe, dict) else None
