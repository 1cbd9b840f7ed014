"""Labels: an integer volume with the materials its values stand for."""

from dataclasses import dataclass
from typing import Any

from xctvol.errors import InputError
from xctvol.journal import Recipe
from xctvol.locations import Location, located
from xctvol.materials import Materials
from xctvol.volume import (
    ImageProduct,
    Volume,
    label_names,
    open_volume,
    read_attributes,
    unlist_label,
)

__all__ = ["Labels", "LabelsProduct", "open_labels"]


@dataclass(frozen=True)
class Labels:
    """A label image: `volume` holds label values, `scan` is the image they belong to, if any."""

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
        known = f"it has {', '.join(names)}; name one of them" if names else "segment it first"
        raise InputError(f"{path} does not say which labels are meant: {known}")
    if name not in names:
        known = ", ".join(names) or "none"
        raise InputError(f"{path} has no labels called {name!r}; it has {known}")
    return _labels(path / "labels" / name, open_volume(path))


def _labels(path: Location, scan: Volume | None) -> Labels:
    volume = open_volume(path)
    if volume.dtype.kind not in "ui":
        raise InputError(f"{path} holds {volume.dtype}; labels are whole numbers")
    ome, own = read_attributes(path)
    if "materials" in own:
        return Labels(volume, Materials.from_json(own["materials"]), scan)
    return Labels(volume, _materials_of(path, ome.get("image-label")), scan)


def _materials_of(path: Location, entry: Any) -> Materials:
    """Materials from the colours and properties of labels that another program wrote."""
    try:
        colors = {int(c["label-value"]): c.get("rgba") for c in entry.get("colors", [])}
        named = {
            int(p["label-value"]): str(p.get("name", f"label {p['label-value']}"))
            for p in entry.get("properties", [])
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its image-label metadata is damaged ({error!r})") from error
    table = []
    for label in sorted({*colors, *named} - {0}):
        material = {"name": named.get(label, f"label {label}"), "mask": label, "label": label}
        if colors.get(label):
            red, green, blue, *_ = colors[label]
            material["color"] = f"#{red:02x}{green:02x}{blue:02x}"
        table.append(material)
    return Materials.from_json(table)


@dataclass(frozen=True)
class LabelsProduct:
    """`labels/NAME` of a volume as the product of a plan; listed there once it is finished."""

    scan: Location
    name: str

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or "/" in self.name:
            raise InputError(f"{self.name!r} cannot be the name of labels: use a plain word")

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
