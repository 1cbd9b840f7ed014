"""A folder of pairs: images/ and masks/, with the same file names but for the suffix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import sha256
from xctvol.materials import Materials
from xctvol.pairs.masks import IGNORE, decode_mask
from xctvol.sources.images import read_image
from xctvol.sources.order import natural_key

__all__ = ["Annotated", "Facts", "Pair", "Pairs", "open_pairs"]

_SUFFIXES = {".tif", ".tiff", ".png"}
_SHOWN = 5  # names in a message


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
    """One annotated slice."""

    name: str
    image: Path
    mask: Path

    def read(self, materials: Materials) -> Annotated:
        """Read both files; raises InputError naming the file where they do not fit."""
        image = _grey_image(self.image)
        mask = read_image(self.mask)
        if mask.shape[:2] != image.shape:
            raise InputError(
                f"{self.mask} has {_size(mask)} pixels but {self.image} has {_size(image)}; "
                "a mask needs the size of its image"
            )
        try:
            return Annotated(image, decode_mask(mask, materials))
        except InputError as error:
            raise InputError(f"{self.mask}: {error}") from None

    def check(self, materials: Materials) -> Facts:
        """Read both files and keep only what is known of them."""
        annotated = self.read(materials)
        y, x = annotated.image.shape
        counts = np.bincount(annotated.indices.ravel(), minlength=IGNORE + 1)
        pixels = tuple(int(count) for count in counts[: len(materials)])
        return Facts((y, x), annotated.image.dtype.name, pixels)

    def identity(self) -> list[str]:
        """Name and digests of both files, for recipes: survives copying, not editing."""
        return [self.name, sha256(self.image), sha256(self.mask)]


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

    @property
    def disk_bytes(self) -> int:
        return sum(p.stat().st_size for pair in self.table for p in (pair.image, pair.mask))

    def __getitem__(self, index: Any) -> Any:
        return self.table[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def open_pairs(folder: str | Path, materials: Materials | str | Path) -> Pairs:
    """The pairs in `folder`: images/NAME and masks/NAME, TIFF or PNG; no pixel is read.

    Raises InputError for a missing folder, an image without mask or a mask without image, and
    two files of one name.
    """
    folder = Path(folder)
    if not isinstance(materials, Materials):
        materials = Materials.read(materials)
    images, masks = _by_name(folder / "images"), _by_name(folder / "masks")
    for these, others, kind in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(these.keys() - others.keys(), key=natural_key)
        if alone:
            raise InputError(
                f"{folder}: no {kind} for {_some([these[name].name for name in alone])}; files "
                "in images/ and masks/ need the same names, up to the suffix"
            )
    names = sorted(images, key=natural_key)
    return Pairs(folder, materials, tuple(Pair(n, images[n], masks[n]) for n in names))


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(
            f"{folder} does not exist; a folder of pairs holds images/ and masks/ with files of "
            "the same names"
        )
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in _SUFFIXES:
            continue
        if path.stem in files:
            raise InputError(
                f"{folder}: {files[path.stem].name} and {path.name} have one name; keep one of them"
            )
        files[path.stem] = path
    if not files:
        found = sorted({path.suffix for path in folder.iterdir() if path.suffix})
        raise InputError(
            f"{folder} holds no TIFF or PNG file" + (f", only {', '.join(found)}" if found else "")
        )
    return files


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


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
