"""OME-Zarr 0.5 group metadata of images and labels, written and read. Only JSON, no library.

Specification: https://ngff.openmicroscopy.org/0.5/. What only this package knows stands beside
it under the key `xctvol`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xctvol.errors import InputError, UsageError
from xctvol.files import WORK, read_json, write_json
from xctvol.formats import refuse_newer, stamp
from xctvol.grid import Index3
from xctvol.locations import Location
from xctvol.materials import Materials
from xctvol.units import Spacing

__all__ = [
    "group",
    "image_label",
    "label_names",
    "list_label",
    "multiscales",
    "read_attributes",
    "read_spacings",
    "unlist_label",
]

_VERSION = "0.5"
_LONGEST_NAME = 255  # bytes, of a file on Linux and macOS
_AXES = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in ("z", "y", "x")]


def group(path: Location, ome: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Write the zarr.json of a group, at once and last: from then on it is an OME-Zarr."""
    attributes: dict[str, Any] = {"ome": {"version": _VERSION, **ome}}
    if own:
        attributes["xctvol"] = {**stamp("volume"), **own}
    write_json(path / "zarr.json", _group(attributes))


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


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


def label_names(volume: Location) -> list[str]:
    """Names of the label images of a volume; one that is listed but gone is left out."""
    listing = volume / "labels" / "zarr.json"
    if not listing.exists():
        return []
    attributes, _ = read_attributes(volume / "labels")
    names = attributes.get("labels", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{listing} does not list label images as text")
    away = [name for name in names if not all(map(_is_file_name, name.split("/")))]
    if away:
        raise InputError(f"{listing} lists {away[0]!r}, which does not lie beside it")
    return [name for name in names if (volume / "labels" / name).exists()]


def _is_file_name(text: str) -> bool:
    return text not in ("", "..") and len(text.encode(errors="replace")) <= _LONGEST_NAME


def list_label(volume: Location, name: str) -> None:
    """Enter a label image in the volume's list.

    Another run may enter another one at the same moment, and who writes last replaces the list. So
    all finished images are entered, and once more where others have finished meanwhile: after the
    last write of all there is none left out, since each is finished before it is entered. What a
    killed run leaves of its list lies with its own image, where nobody else writes.
    """
    _write_list(volume, name, lambda: (*label_names(volume), *sorted({name} | _finished(volume))))


def unlist_label(volume: Location, name: str) -> None:
    """Take a label image out of the volume's list, whatever others do to the list meanwhile."""

    def others() -> tuple[str, ...]:
        names = (*label_names(volume), *sorted(_finished(volume)))
        return tuple(other for other in names if other != name)

    _write_list(volume, name, others)


def _write_list(volume: Location, name: str, wanted: Callable[[], tuple[str, ...]]) -> None:
    """Write what is wanted until nobody finished another image meanwhile, `name` apart."""
    labels = volume / "labels"
    while True:
        names = [*dict.fromkeys(wanted())]
        ome = {"version": _VERSION, "labels": names}
        write_json(labels / "zarr.json", _group({"ome": ome}), folder=labels / name)
        if _finished(volume) <= {*names, name}:
            return


def _finished(volume: Location) -> set[str]:
    """Label images of a volume that this package has finished, listed or not."""
    labels = volume / "labels"
    places = labels.iterdir() if labels.is_dir() else ()
    return {place.name for place in places if _is_finished(place)}


def _is_finished(place: Location) -> bool:
    try:
        ome, own = read_attributes(place)
    except InputError:  # unfinished, damaged, or no image at all
        return False
    return "image-label" in ome and "recipe" in own


def read_attributes(path: Location) -> tuple[dict[str, Any], dict[str, Any]]:
    """OME attributes (0.5 or 0.4) and our own.

    Raises InputError where there is no group, or one of a newer version of this package.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if (path / "zarr.json").exists():
        document = read_json(path / "zarr.json")
    elif (path / ".zattrs").exists():
        document = {"attributes": read_json(path / ".zattrs")}
    elif (path / WORK).exists():
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
    refuse_newer("volume", path, own)
    return ome, own


def read_spacings(path: Location, image: Mapping[str, Any]) -> tuple[Spacing, ...]:
    """Voxel size of each level; raises InputError where there is none, or other axes or units.

    Time and channel axes may precede z, y and x. An axis without a unit is taken to be in um.
    """
    try:
        names = [axis["name"] for axis in image["axes"]]
        units = {axis.get("unit", "micrometer") for axis in image["axes"][-3:]}
        sizes = [_voxel_size(path, image, dataset) for dataset in image["datasets"]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: its multiscales metadata is damaged ({error!r})") from error
    if names[-3:] != ["z", "y", "x"] or not {*names[:-3]} <= {"t", "c"} or len(units) != 1:
        raise InputError(
            f"{path} has the axes {', '.join(map(str, names))}; a volume has z, y, x in one unit"
        )
    unit = str(units.pop())
    try:
        return tuple(Spacing.of(size, unit) for size in sizes)
    except UsageError as error:
        raise InputError(f"{path}: {error}") from error


def _voxel_size(
    path: Location, image: Mapping[str, Any], dataset: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Of one level, (z, y, x), in the image's unit: its own scale times that of the whole image."""
    steps = [step for of in (dataset, image) for step in of.get("coordinateTransformations", ())]
    scales = [step["scale"] for step in steps if step["type"] == "scale"]
    if not scales:
        raise InputError(
            f"{path} does not say its voxel size, and every length, area and volume depends on "
            f"it; convert {path}/{dataset['path']} with --spacing 0.65um to a new volume"
        )
    z, y, x = [math.prod(factors) for factors in zip(*scales, strict=True)][-3:]
    return (float(z), float(y), float(x))
