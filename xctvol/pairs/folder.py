"""A folder of pairs: images/ and their annotation, or a folder of that kind for each scan."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.annotations import IGNORE, Annotation, images_in, open_layers
from xctvol.errors import InputError
from xctvol.files import sha256
from xctvol.materials import Materials
from xctvol.sources.images import read_image
from xctvol.sources.order import natural_key

__all__ = ["Annotated", "Facts", "Pair", "Pairs", "open_pairs"]

_NUMBER = re.compile(r"[^0-9A-Za-z]*[0-9]+[^0-9]*$")


@dataclass(frozen=True)
class Annotated:
    """A slice (y, x) as stored, and the index of each pixel's material, or IGNORE, (y, x) uint8."""

    image: NDArray[Any]
    indices: NDArray[np.uint8]


@dataclass(frozen=True)
class Facts:
    """What a check of one pair found: size (y, x), type of the image, pixels of each material."""

    size: tuple[int, int]
    dtype: str
    pixels: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """One annotated slice; of `layers`, later ones lie over earlier ones."""

    name: str
    scan: str
    image: Path
    layers: tuple[Annotation, ...]

    def read(self, materials: Materials) -> Annotated:
        """Read all files; raises InputError naming the file where they do not fit."""
        image = _grey_image(self.image)
        size = (image.shape[0], image.shape[1])
        indices = np.full(size, IGNORE, np.uint8)
        for layer in self.layers:
            shown = layer.read(size, materials)
            np.copyto(indices, shown, where=shown != IGNORE)
        return Annotated(image, indices)

    def check(self, materials: Materials) -> Facts:
        """Read all files and keep only what is known of them.

        Raises InputError where nothing is annotated: such a slice could neither train nor score.
        """
        annotated = self.read(materials)
        y, x = annotated.image.shape
        counts = np.bincount(annotated.indices.ravel(), minlength=IGNORE + 1)
        pixels = tuple(int(count) for count in counts[: len(materials)])
        if not any(pixels):
            raise InputError(
                f"{self.image}: nothing in {', '.join(str(file) for file in self.files[1:])} shows "
                "a material on it; annotate it, or take it out of images/"
            )
        return Facts((y, x), annotated.image.dtype.name, pixels)

    @property
    def files(self) -> tuple[Path, ...]:
        """The image first."""
        return (self.image, *(file for layer in self.layers for file in layer.files))

    def identity(self) -> list[str]:
        """Names and digests of all files, for recipes: survives copying, not editing."""
        return [self.name, self.scan, *map(sha256, self.files)]


@dataclass(frozen=True)
class Pairs(Sequence[Pair]):
    """Annotated slices in natural order of their names, and the materials their masks show."""

    folder: Path
    materials: Materials
    table: tuple[Pair, ...]

    def check(self) -> tuple[Facts, ...]:
        """Read and decode everything once; raises InputError for the first pair that fails.

        All images must have one data type, as one window of grey values serves them all.
        """
        facts = tuple(pair.check(self.materials) for pair in self.table)
        for pair, fact in zip(self.table, facts, strict=True):
            if fact.dtype != facts[0].dtype:
                raise InputError(
                    f"{pair.image} holds {fact.dtype} but {self.table[0].image} holds "
                    f"{facts[0].dtype}; images of one training need one type and grey scale"
                )
        return facts

    def identity(self) -> list[list[str]]:
        return [pair.identity() for pair in self.table]

    def recipe_inputs(self) -> dict[str, Any]:
        """What a recipe says of them: all files by name and digest, and what masks mean."""
        return {
            "pairs": self.identity(),
            "materials": self.materials.to_json(),
            "ignore": [list(value) for value in self.materials.ignore],
        }

    def require_like(self, others: "Pairs") -> None:
        """Raise InputError where `others` show other materials, or have another type of images.

        Both folders must have been checked.
        """
        if self.materials.names != others.materials.names:
            raise InputError(
                f"the pairs in {self.folder} show {', '.join(self.materials.names)} but those in "
                f"{others.folder} {', '.join(others.materials.names)}; both need the same "
                "materials in the same order"
            )
        mine, theirs = (each[0].check(each.materials).dtype for each in (self, others))
        if mine != theirs:
            raise InputError(
                f"images in {self.folder} hold {mine} but those in {others.folder} {theirs}: grey "
                "values would mean something else"
            )

    @property
    def scans(self) -> tuple[str, ...]:
        """Names of the scans that the slices are of, in order of their first slices."""
        return tuple(dict.fromkeys(pair.scan for pair in self.table))

    @property
    def disk_bytes(self) -> int:
        return sum(p.stat().st_size for p in {file for pair in self.table for file in pair.files})

    def __getitem__(self, index: Any) -> Any:
        return self.table[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def open_pairs(folder: str | Path, materials: Materials | str | Path) -> Pairs:
    """The pairs in `folder`; no pixel is read.

    images/NAME is annotated by masks/NAME, or as layers.toml says (`annotations.layers`). Where
    `folder` holds folders of scans instead, each with images/, pairs are named SCAN/NAME. Slices of
    one folder are of one scan if their names differ in the last number only. Raises InputError for
    a missing folder, an image without mask or a mask without image, and two files of one name.
    """
    folder = Path(folder)
    if not isinstance(materials, Materials):
        materials = Materials.read(materials)
    scans = sorted((p.parent for p in folder.glob("*/images")), key=lambda p: natural_key(p.name))
    if (folder / "images").exists() or not scans:
        return Pairs(folder, materials, tuple(_pairs(folder, folder)))
    return Pairs(folder, materials, tuple(pair for scan in scans for pair in _pairs(scan, folder)))


def _pairs(scan: Path, root: Path) -> Iterator[Pair]:
    images = images_in(scan / "images")
    layers = [layer.annotations(images) for layer in open_layers(scan, root)]
    for stem in sorted(images, key=natural_key):
        own = scan == root
        yield Pair(
            name=stem if own else f"{scan.name}/{stem}",
            scan=_NUMBER.sub("", stem) or root.name if own else scan.name,
            image=images[stem],
            layers=tuple(layer[stem] for layer in layers),
        )


def _grey_image(path: Path) -> NDArray[Any]:
    image = read_image(path)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError(f"{path} holds values that are not numbers; fill them before training")
    if image.ndim == 2:
        return image
    if not (image == image[..., :1]).all():
        raise InputError(
            f"{path} is a colour image; a slice of a scan is grey (is it a mask, or an overlay?)"
        )
    return np.ascontiguousarray(image[..., 0])
