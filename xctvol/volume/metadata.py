"""OME-Zarr 0.5 group metadata of images and labels, written and read. Only JSON, no library.

Specification: https://ngff.openmicroscopy.org/0.5/. What only this package knows stands beside
it under the key `xctvol`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xctvol.errors import InputError
from xctvol.files import read_json, write_json
from xctvol.grid import Index3
from xctvol.materials import Materials
from xctvol.units import Spacing

__all__ = [
    "group",
    "image_label",
    "label_names",
    "list_label",
    "multiscales",
    "read_attributes",
    "read_spacing",
]

_VERSION = "0.5"
_AXES = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in ("z", "y", "x")]


def group(path: Path, ome: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Write the zarr.json of a group, at once and last: from then on it is an OME-Zarr."""
    attributes: dict[str, Any] = {"ome": {"version": _VERSION, **ome}}
    if own:
        attributes["xctvol"] = dict(own)
    write_json(
        path / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    )


def multiscales(name: str, spacing: Spacing, factors: Sequence[Index3]) -> list[dict[str, Any]]:
    """One multiscale image; level i is `factors[i]` times coarser and lies half a voxel further in.

    The centre of a voxel that is the mean of `f` voxels lies (f - 1) / 2 voxels after theirs.
    """
    datasets = []
    for level, factor in enumerate(factors):
        scale = [s * f for s, f in zip(spacing.zyx, factor, strict=True)]
        shift = [s * (f - 1) / 2 for s, f in zip(spacing.zyx, factor, strict=True)]
        transformations = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    return [{"name": name, "axes": _AXES, "datasets": datasets}]


def image_label(materials: Materials, source: str | None) -> dict[str, Any]:
    """The `image-label` entry: colours and names of labels, and the image they belong to."""
    entry: dict[str, Any] = {
        "colors": [{"label-value": m.label, "rgba": [*m.rgb, 255]} for m in materials],
        "properties": [{"label-value": m.label, "name": m.name} for m in materials],
    }
    if source is not None:
        entry["source"] = {"image": source}
    return entry


def label_names(volume: Path) -> list[str]:
    """Names of the label images of a volume."""
    listing = volume / "labels" / "zarr.json"
    if not listing.exists():
        return []
    attributes, _ = read_attributes(volume / "labels")
    names = attributes.get("labels", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{listing} does not list label images as text")
    return names


def list_label(volume: Path, name: str, *, listed: bool) -> None:
    """Enter a label image in the volume's list, or take it out."""
    names = [n for n in label_names(volume) if n != name]
    group(volume / "labels", {"labels": [*names, name] if listed else names}, {})


def read_attributes(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """OME attributes (0.5 or 0.4) and our own; raises InputError where there is no group."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if (path / "zarr.json").exists():
        document = read_json(path / "zarr.json")
    elif (path / ".zattrs").exists():
        document = {"attributes": read_json(path / ".zattrs")}
    elif (path / ".xctvol").exists():
        raise InputError(
            f"{path} is unfinished: run the command that made it again, it continues where it was"
        )
    else:
        raise InputError(f"{path} is not a volume: it holds no OME-Zarr metadata")
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict):
        raise InputError(f"{path} is not a volume: its zarr.json has no attributes")
    ome = attributes.get("ome", attributes)
    own = attributes.get("xctvol", {})
    if not isinstance(ome, dict) or not isinstance(own, dict):
        raise InputError(f"{path} is not a volume: its attributes are damaged")
    return ome, own


def read_spacing(path: Path, image: Mapping[str, Any]) -> Spacing:
    """Voxel size of level 0; raises InputError where axes or units are not those of a volume.

    Time and channel axes may precede z, y and x. An axis without a unit is taken to be in um.
    """
    try:
        names = [axis["name"] for axis in image["axes"]]
        units = {axis.get("unit", "micrometer") for axis in image["axes"][-3:]}
        steps = image["datasets"][0]["coordinateTransformations"]
        steps = [*steps, *image.get("coordinateTransformations", ())]  # the latter for all levels
        scales = [step["scale"] for step in steps if step["type"] == "scale"]
        z, y, x = [math.prod(factors) for factors in zip(*scales, strict=True)][-3:]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: its multiscales metadata is damaged ({error!r})") from error
    if names[-3:] != ["z", "y", "x"] or not {*names[:-3]} <= {"t", "c"} or len(units) != 1:
        raise InputError(
            f"{path} has the axes {', '.join(map(str, names))}; a volume has z, y, x in one unit"
        )
    return Spacing.of((z, y, x), str(units.pop()))
