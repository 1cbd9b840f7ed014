"""Exporting surfaces: those of all materials in one file, at a resolution that memory holds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.files import write_atomic
from xctvol.grid import Block, Box, counted
from xctvol.journal import Journal, Recipe
from xctvol.materials import Material, Materials
from xctvol.plan import FileProduct, Plan, Stage, report
from xctvol.stages.export.glb import LARGEST, encode_glb, recipe_in_glb, refuse_large
from xctvol.stages.export.picture import Picture
from xctvol.stages.export.stack import PROCESS_BYTES
from xctvol.stages.export.surfaces import Surface, surface_of
from xctvol.units import Spacing, format_bytes
from xctvol.volume import Volume, halve_labels, halved_shape

__all__ = ["MOST_VOXELS", "chosen", "export_surfaces", "level_for_surfaces"]

MOST_VOXELS = 200**3
"""That surfaces are drawn from where no level is named: so many that any program can turn them."""

_VOXEL_BYTES = 14  # its label, whether it is inside, also as a number, and marching cubes
_CORNERS = 0.6  # a voxel, of a material: tissues as fine as the voxels have so many
_CORNER_BYTES = 260  # with its two faces, while they are found and smoothed
_ALL_CORNERS = 1.2  # a voxel, of all materials
_STORED_BYTES = 48  # position, normal, two faces


def level_for_surfaces(volume: Volume) -> int:
    """The finest level that is not too large for surfaces, or else the coarsest that there is."""
    sizes = [Box.whole(level.shape).size for level in volume.levels]
    return next((n for n, size in enumerate(sizes) if size <= MOST_VOXELS), len(sizes) - 1)


def chosen(materials: Materials, names: Sequence[str]) -> tuple[Material, ...]:
    """The materials of these names, in their order; all of them where there is no name."""
    unknown = [name for name in names if name not in materials.names]
    if unknown:
        raise UsageError(
            f"there is no material {unknown[0]!r}; there are {', '.join(materials.names)}"
        )
    return tuple(m for m in materials if not names or m.name in names)


def export_surfaces(
    picture: Picture, materials: Sequence[Material], most_voxels: int, output: Path, recipe: Recipe
) -> Plan[Path]:
    """Plan to write the surfaces of `materials` to a GLB file.

    They are drawn from at most `most_voxels`, to which labels are halved as often as it takes.
    """
    product = FileProduct(output, "file of surfaces", recipe_in_glb)
    halvings, shape = 0, tuple(picture.box.shape)
    while math.prod(shape) > most_voxels:
        shape, halvings = halved_shape(shape), halvings + 1
    draw = DrawSurfaces(picture, halvings, tuple(materials), output, recipe)
    count = math.prod(shape)
    stored, found = _STORED_BYTES * _ALL_CORNERS, _CORNER_BYTES * _CORNERS
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("surfaces", draw, counted([1]), Journal(product.work), unit="blocks"),),
        peak_memory=2 * PROCESS_BYTES  # scikit-image
        + max(_while_read(picture, halvings), int(count * (_VOXEL_BYTES + stored + found))),
        reads=picture.nbytes,
        writes=min(LARGEST, int(stored * count)),
        notes=(f"surfaces of {' x '.join(map(str, shape))} voxels", *_doubts(int(stored * count))),
    )


def _while_read(picture: Picture, halvings: int) -> int:
    """Bytes while the labels are read; while they are halved there is more than one of them."""
    reading = picture.reading_bytes([Box.whole(picture.box.shape)])
    return picture.nbytes + max(reading, picture.nbytes if halvings else 0)


def _doubts(nbytes: int) -> Iterator[str]:
    """A warning where surfaces may be too large for a file, which is known when they are found."""
    if nbytes > LARGEST:
        yield (
            f"WARNING: surfaces of so many voxels can take {format_bytes(nbytes)}, and more than "
            f"{format_bytes(LARGEST)} are refused when they are found; a coarser --level has fewer"
        )


@dataclass(frozen=True)
class DrawSurfaces:
    """Finds the surfaces, one material after the other, and writes the file."""

    picture: Picture
    halvings: int
    materials: tuple[Material, ...]
    output: Path
    recipe: Recipe

    def __call__(self, _: Block) -> None:
        coarse = _Coarse.of(self.picture)
        for _halving in range(self.halvings):
            coarse = coarse.halved()
        found = [*self._surfaces(coarse)]
        if not found:
            names = ", ".join(material.name for material in self.materials)
            raise InputError(f"{self.picture.path} shows no {names}, so there is no surface")
        write_atomic(self.output, *encode_glb(found, self.recipe.to_json()))

    def _surfaces(self, coarse: "_Coarse") -> Iterator[tuple[Material, Surface]]:
        """Those of materials that are there; refused as soon as they are too many for a file."""
        nbytes = 0
        for material in self.materials:
            surface = _surface(coarse, material)
            if surface is not None:
                nbytes += surface.nbytes
                refuse_large(nbytes)
                yield material, surface


@dataclass(frozen=True)
class _Coarse:
    """Labels (z, y, x) in memory; `origin` is where the centre of the first voxel is, in um."""

    labels: NDArray[np.integer]
    spacing: Spacing
    origin: tuple[float, float, float]

    @classmethod
    def of(cls, picture: Picture) -> "_Coarse":
        labels = np.empty(picture.box.shape, picture.dtype)
        picture.read(Box.whole(picture.box.shape), labels)
        return cls(labels, picture.spacing, picture.origin)

    def halved(self) -> "_Coarse":
        """At half the resolution: the centre of two voxels lies between theirs."""
        factors = [2 if n > 1 else 1 for n in self.labels.shape]
        z, y, x = (f * size for f, size in zip(factors, self.spacing.zyx, strict=True))
        origin = tuple(
            start + (new - old) / 2
            for start, new, old in zip(self.origin, (z, y, x), self.spacing.zyx, strict=True)
        )
        return _Coarse(
            halve_labels(self.labels), Spacing(z, y, x), (origin[0], origin[1], origin[2])
        )


def _surface(coarse: _Coarse, material: Material) -> Surface | None:
    report(0, f"surface of {material.name}")
    return surface_of(coarse.labels == material.label, coarse.spacing, coarse.origin)
