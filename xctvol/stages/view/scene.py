"""What the viewer shows: the state of neuroglancer, as JSON.

https://neuroglancer-docs.web.app/json/api/index.html
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from xctvol.grid import Box
from xctvol.labels import Labels
from xctvol.volume import Volume

__all__ = ["material_names", "scene"]

_PIXELS = 450  # that the scan is to fill: each of the four parts of a window has some more
_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles of the grey values that become black and white
_OPACITY = 0.35
_SHADER = "#uicontrol invlerp normalized\nvoid main() { emitGrayscale(normalized()); }"


def scene(volume: Volume, labels: Sequence[Labels], data: str, names: str) -> dict[str, Any]:
    """Three planes through the middle of a volume, labels over it in the colours of materials.

    `data` is the address of the volume's files, `names` that of the names of materials, below
    which each labels have a folder. A volume that is labels itself has no grey values to show.
    """
    z, y, x = volume.shape
    grey = all(found.scan is not None for found in labels)
    return {
        "dimensions": {
            axis: _dimension(size) for axis, size in zip("xyz", _xyz(volume), strict=True)
        },
        "position": [x / 2, y / 2, z / 2],
        "crossSectionScale": max(x, y, z) / _PIXELS,
        "projectionScale": 1.5 * max(x, y, z),
        "layers": [
            *([_image(volume, data)] if grey else []),
            *(_segmentation(found, data, names) for found in labels),
        ],
        "layout": "4panel-alt",
        "showDefaultAnnotations": False,
        "selectedLayer": {"visible": bool(labels), "layer": labels[0].name if labels else ""},
        "title": volume.path.name,
    }


def material_names(labels: Labels) -> dict[str, Any]:
    """The names of materials by label, in the viewer's words."""
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": [str(material.label) for material in labels.materials],
            "properties": [
                {
                    "id": "label",
                    "type": "label",
                    "values": [material.name for material in labels.materials],
                }
            ],
        },
    }


def _xyz(volume: Volume) -> tuple[float, float, float]:
    return (volume.spacing.x, volume.spacing.y, volume.spacing.z)


def _dimension(size_um: float) -> list[Any]:
    return [size_um * 1e-6, "m"]


def _image(volume: Volume, data: str) -> dict[str, Any]:
    low, high = _greys(volume)
    return {
        "type": "image",
        "name": volume.path.stem,
        "source": f"{data}|zarr3:",
        "shader": _SHADER,
        "shaderControls": {"normalized": {"range": [low, high]}},
        "opacity": 1,
    }


def _greys(volume: Volume) -> tuple[float, float]:
    """The grey values of black and white: most of those of the middle slice."""
    level = len(volume.levels) - 1
    depth, height, width = volume.levels[level].shape
    middle = volume.read(Box((depth // 2, 0, 0), (depth // 2 + 1, height, width)), level)
    values = middle[np.isfinite(middle)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (_DARKEST, _BRIGHTEST)))
    return (low, high) if low < high else (low, low + 1)


def _segmentation(labels: Labels, data: str, names: str) -> dict[str, Any]:
    """Of labels without materials all are shown, in colours that the viewer makes up."""
    folder = f"{quote(labels.name)}/"
    place = data if labels.scan is None else f"{data}labels/{folder}"
    layer: dict[str, Any] = {
        "type": "segmentation",
        "name": labels.name,
        "source": [f"{place}|zarr3:"],
        "selectedAlpha": _OPACITY,
        "notSelectedAlpha": 0,
        "hideSegmentZero": True,
        "tab": "segments",
    }
    if not len(labels.materials):
        return layer
    return layer | {
        "source": [*layer["source"], f"{names}{folder}|neuroglancer-precomputed:"],
        "segments": [str(material.label) for material in labels.materials],
        "segmentColors": {str(material.label): material.color for material in labels.materials},
    }
