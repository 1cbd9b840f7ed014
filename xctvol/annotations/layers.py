"""Layers: folders of annotations, each over the one before, and what each of them may hold.

layers.toml, beside the folders, lists them from the bottom to the top; without it there is one,
masks/::

    [[layer]]
    folder = "tissues"
    elsewhere = "mesophyll"   # what pixels show that nothing here is drawn on; by default nothing

    [[layer]]
    folder = "air"
    ignore = 0                # mask values that show nothing here, instead of the materials' own

Where a layer shows nothing, the one below it is seen; where none shows anything, a pixel is
without annotation.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xctvol.annotations.base import IGNORE, Annotation, Indices, Size
from xctvol.annotations.cvat_masks import LABELMAP, SEGMENTATION, LabelMask
from xctvol.annotations.cvat_shapes import Shapes, annotated_images
from xctvol.annotations.imagej import Rois, positions
from xctvol.annotations.masks import Mask
from xctvol.errors import InputError, shortened
from xctvol.files import refuse_special
from xctvol.materials import MaskValue, Materials, mask_values
from xctvol.sources.order import natural_key

__all__ = ["LAYERS", "Layer", "Shown", "images_in", "open_layers"]

LAYERS = "layers.toml"

_IMAGES = (".tif", ".tiff", ".png")
_OUTLINES = (".roi", ".zip")
_KEYS = {"folder", "ignore", "elsewhere"}


@dataclass(frozen=True)
class Shown:
    """An annotation as a layer shows it: `elsewhere` where it says nothing itself."""

    annotation: Annotation
    elsewhere: str
    rules: Path
    """The file that says so."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.annotation.files, self.rules)

    def read(self, size: Size, materials: Materials) -> Indices:
        if self.elsewhere not in materials.names:
            raise InputError(
                f"{self.rules}: elsewhere = {self.elsewhere!r} is none of the materials "
                f"{', '.join(materials.names)}"
            )
        indices = self.annotation.read(size, materials)
        indices[indices == IGNORE] = materials.names.index(self.elsewhere)
        return indices


@dataclass(frozen=True)
class Layer:
    """A folder with annotations of one kind, and how they are shown."""

    folder: Path
    ignore: tuple[MaskValue, ...] | None = None
    elsewhere: str | None = None
    rules: Path | None = None

    def annotations(self, images: Mapping[str, Path]) -> dict[str, Annotation]:
        """What the folder says about each image, by the same names; no pixel is read.

        Raises InputError for an image without annotation and an annotation without image.
        """
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder} does not exist; annotations lie in masks/, or in the folders that "
                f"{LAYERS} lists"
            )
        found = self._found(images)
        places = {name: annotation.files[0] for name, annotation in found.items()}
        drawn_in = next(iter(images.values())).parent
        _refuse_alone("mask", images, places, self.folder, self.folder)
        _refuse_alone("image", places, images, drawn_in, self.folder)
        if self.elsewhere is None:
            return found
        assert self.rules is not None
        return {name: Shown(a, self.elsewhere, self.rules) for name, a in found.items()}

    def _found(self, images: Mapping[str, Path]) -> dict[str, Annotation]:
        labelmap = self.folder / LABELMAP
        if labelmap.exists():
            masks = by_stem((self.folder / SEGMENTATION).rglob("*"), self.folder, _IMAGES)
            return {name: LabelMask(path, labelmap) for name, path in masks.items()}
        shapes = sorted(self.folder.glob("*.xml"))
        sets = [p for p in sorted(self.folder.glob("*.zip")) if p.stem not in images]
        if len(shapes) + len(sets) > 1:
            raise InputError(
                f"{self.folder} holds {shortened([p.name for p in (*shapes, *sets)])}, each with "
                f"annotations of many images; keep one, or make layers of them ({LAYERS})"
            )
        if shapes:
            return _by_name(shapes[0])
        if sets:
            return _by_position(sets[0], images)
        files = by_stem(self.folder.iterdir(), self.folder, (*_IMAGES, *_OUTLINES))
        return {name: self._of_one(path) for name, path in files.items()}

    def _of_one(self, path: Path) -> Annotation:
        return Rois(path) if path.suffix.lower() in _OUTLINES else Mask(path, self.ignore)


def open_layers(folder: Path, root: Path) -> tuple[Layer, ...]:
    """The layers in `folder` from the bottom to the top, as its layers.toml or that of `root` says.

    Raises InputError where that file makes no sense.
    """
    rules = next((f / LAYERS for f in (folder, root) if (f / LAYERS).exists()), None)
    if rules is None:
        return (Layer(folder / "masks"),)
    refuse_special(rules)
    try:
        document = tomllib.loads(rules.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the layers in {rules}: {error}") from error
    entries = document.get("layer")
    if not isinstance(entries, list) or not entries or set(document) != {"layer"}:
        raise InputError(f"{rules} lists no layers: write one [[layer]] table for each")
    return tuple(_layer(folder, rules, entry) for entry in entries)


def images_in(folder: Path) -> dict[str, Path]:
    """The images of a folder by name without suffix; raises InputError where there are none."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} does not exist; a folder of pairs holds images/ and masks/ with files of "
            "the same names, or a folder of that kind for each scan"
        )
    return by_stem(folder.iterdir(), folder, _IMAGES)


def by_stem(files: Iterable[Path], folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files of these suffixes by their names without; raises InputError for none and for two."""
    found: dict[str, Path] = {}
    others = set()
    for path in sorted(files):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            others.add(path.suffix)
            continue
        if path.stem in found:
            raise InputError(
                f"{folder}: {found[path.stem].name} and {path.name} have one name; keep one of them"
            )
        found[path.stem] = path
    if not found:
        only = ", ".join(sorted(filter(None, others)))
        kinds = "TIFF or PNG file" + (" nor outlines" if ".roi" in suffixes else "")
        raise InputError(
            f"{folder} holds no {kinds}" + (f", only {only}: export PNG or TIFF" if only else "")
        )
    return found


def _refuse_alone(
    kind: str, these: Mapping[str, Path], others: Mapping[str, Path], wanted_in: Path, layer: Path
) -> None:
    """Raise InputError where one of `these` has none of `others`, which lie in `wanted_in`."""
    alone = sorted(these.keys() - others.keys(), key=natural_key)
    if not alone:
        return
    files = [these[name].name if these[name].stem == name else name for name in alone]
    unread = sorted(p.name for p in wanted_in.iterdir() if p.stem in alone and p.is_file())
    hint = f"; {shortened(unread)} cannot be used: export PNG or TIFF" if unread else ""
    raise InputError(
        f"{layer}: no {kind} for {shortened(files)}; images and their masks need the same names, "
        f"up to the suffix{hint}"
    )


def _layer(folder: Path, rules: Path, entry: Any) -> Layer:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("folder"), str):
        raise InputError(f'{rules}: a layer needs the name of its folder (folder = "masks")')
    name, elsewhere = PurePosixPath(entry["folder"]), entry.get("elsewhere")
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"{rules}: the folder {str(name)!r} does not lie beside images/")
    unknown = sorted(set(entry) - _KEYS)
    if unknown or not isinstance(elsewhere, str | None):
        wrong = unknown[0] if unknown else "elsewhere"
        raise InputError(
            f"{rules}: {wrong!r} of layer {str(name)!r} makes no sense; a layer has a folder, the "
            "name of a material `elsewhere`, and mask values to `ignore`"
        )
    given = entry.get("ignore")
    ignore = None if given is None else mask_values(f"{rules}: ignore", given)
    return Layer(folder / name, ignore, elsewhere, rules)


def _by_name(path: Path) -> dict[str, Annotation]:
    found: dict[str, Annotation] = {}
    for name in annotated_images(path):
        stem = PurePosixPath(name).stem
        if stem in found:
            raise InputError(f"{path} has two images of the name {stem!r}; keep one of them")
        found[stem] = Shapes(path, name)
    return found


def _by_position(path: Path, images: Mapping[str, Path]) -> dict[str, Annotation]:
    """Outlines by slice: slice 1 is the first image in natural order, as ImageJ opens them."""
    names = sorted(images, key=natural_key)
    beyond = sorted(position for position in positions(path) if position > len(names))
    if beyond:
        raise InputError(
            f"{path}: outlines lie on slice {beyond[0]} but there are {len(names)} images; draw "
            f"them on these images, opened as an image sequence, where slice 1 is {names[0]}"
        )
    return {name: Rois(path, number) for number, name in enumerate(names, 1)}
