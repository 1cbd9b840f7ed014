"""Labels: an integer volume with the materials its values stand for."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xctvol.errors import InputError, UsageError
from xctvol.journal import Recipe
from xctvol.locations import Location, located
from xctvol.materials import MAX_LABEL, UNLABELLED, Materials
from xctvol.volume import (
    ImageProduct,
    Volume,
    label_names,
    open_volume,
    read_attributes,
    unlist_label,
)

__all__ = ["Labels", "LabelsProduct", "open_labels"]

_LISTING = "zarr.json"  # lies beside the labels of a volume
_LONGEST_NAME = 255  # bytes, of a folder on Linux and macOS
_UNPRINTED = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, ends of lines


@dataclass(frozen=True)
class Labels:
    """A label image: `volume` holds label values, `scan` is the image they belong to, if any.

    Without `materials` its values are numbers, of regions or cells, that nothing is said of.
    """

    volume: Volume
    materials: Materials
    scan: Volume | None

    @property
    def name(self) -> str:
        return self.volume.path.name if self.scan is not None else self.volume.path.stem


def open_labels(path: str | Location, name: str | None = None) -> Labels:
    """The labels called `name` of a volume, its only ones, or the volume itself if it is labels.

    Raises InputError where there are none, or several and no name.
    """
    path = located(path)
    ome, _ = read_attributes(path)
    names = label_names(path)
    if name is None and not names and "image-label" in ome:
        return _labels(path, None)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None:
        if not names:
            raise InputError(f"{path} holds no labels; segment it first")
        raise InputError(
            f"{path} has several labels, {', '.join(names)}: name one of them with --labels"
        )
    if name not in names:
        known = ", ".join(names) or "none"
        raise InputError(f"{path} has no labels called {name!r}; it has {known}")
    return _labels(path / "labels" / name, open_volume(path))


def _labels(path: Location, scan: Volume | None) -> Labels:
    volume = open_volume(path)
    if volume.dtype.kind not in "ui":
        raise InputError(f"{path} holds {volume.dtype}; labels are whole numbers")
    if scan is not None:
        _refuse_another(volume, scan)
    ome, own = read_attributes(path)
    try:
        if own.get("materials"):
            return Labels(volume, Materials.from_json(own["materials"]), scan)
        return Labels(volume, _materials_of(ome.get("image-label", {})), scan)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _refuse_another(labels: Volume, scan: Volume) -> None:
    """Raise InputError for labels of what was converted to the same place before.

    Of scans of other programs only the shape tells: a copy has other times.
    """
    made_by = labels.recipe
    of = None if made_by is None else made_by.inputs.get("volume")
    known = scan.recipe is not None and of is not None
    if labels.shape != scan.shape or (known and of != scan.digest):
        raise InputError(
            f"{labels.path} was made of another scan than {scan.path} holds now, so that sizes, "
            "places and grey values may be wrong: segment again with --overwrite, or delete it"
        )


def _materials_of(entry: Any) -> Materials:
    """Materials from the colours and properties of labels that another program wrote.

    There are none where nothing is said of any label, or of one that no material can have: values
    number regions then, or cells, and each of them would be a material.
    """
    try:
        colors = {int(c["label-value"]): _color(c.get("rgba")) for c in entry.get("colors", [])}
        names = {int(p["label-value"]): p.get("name") for p in entry.get("properties", [])}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"its image-label metadata is damaged ({error!r})") from error
    labels = sorted({*colors, *names} - {UNLABELLED})
    if not labels or labels[0] < UNLABELLED or labels[-1] > MAX_LABEL:
        return Materials(())
    table = []
    for label, name in _distinct({label: names.get(label) for label in labels}).items():
        material = {"name": name, "mask": label, "label": label}
        color = colors.get(label)
        table.append(material if color is None else {**material, "color": color})
    return Materials.from_json(table)


def _color(rgba: Any) -> str | None:
    """A colour as materials have it; raises ValueError for what is none."""
    if rgba is None:
        return None
    if not isinstance(rgba, list) or len(rgba) not in (3, 4):
        raise ValueError(f"{rgba!r:.40} is no colour")
    if not all(type(part) is int and 0 <= part <= 255 for part in rgba):
        raise ValueError(f"{rgba!r:.40} is no colour of whole numbers from 0 to 255")
    red, green, blue, *_ = rgba
    return f"#{red:02x}{green:02x}{blue:02x}"


def _distinct(names: Mapping[int, Any]) -> dict[int, str]:
    """A name for each label, with its number where there is none or others have the same."""
    given = {label: str(name or "").strip() for label, name in names.items()}
    times = Counter(given.values())
    return {
        label: name if name and times[name] == 1 else f"{name or 'label'} {label}"
        for label, name in given.items()
    }


@dataclass(frozen=True)
class LabelsProduct:
    """`labels/NAME` of a volume as the product of a plan; listed there once it is finished."""

    scan: Location
    name: str

    def __post_init__(self) -> None:
        if not _can_be_name(self.name):
            raise UsageError(
                f"{self.name!r:.80} cannot be the name of labels, which a folder will have: use a "
                "plain word"
            )

    @property
    def path(self) -> Location:
        return self.scan / "labels" / self.name

    @property
    def work(self) -> Location:
        return self._image.work

    @property
    def _image(self) -> ImageProduct[Labels]:
        return ImageProduct(
            self.path, lambda path: _labels(path, open_volume(self.scan)), beside=("probabilities",)
        )

    def made_by(self) -> Recipe | None:
        recipe = self._image.made_by()
        # between its own metadata and the volume's list a killed run leaves labels nobody sees
        return recipe if self.name in label_names(self.scan) else None

    def open(self) -> Labels:
        return self._image.open()

    def remove(self) -> None:
        unlist_label(self.scan, self.name)
        self._image.remove()


def _can_be_name(text: str) -> bool:
    """Whether labels can be stored under this name: printed in one line, and not in the way."""
    if not text.strip() or text.startswith(".") or "/" in text or text == _LISTING:
        return False
    if any(unicodedata.category(character) in _UNPRINTED for character in text):
        return False
    return len(text.encode()) <= _LONGEST_NAME
