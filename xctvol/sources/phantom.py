"""The phantom: a made-up leaf as an X-ray scan shows it, with exact ground truth, of any size.

Slices are made when they are read, each alone, so a scan of any length needs no files and no
memory. The same shape, spacing and seed always give the same bytes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import UsageError
from xctvol.grid import Index3
from xctvol.materials import Materials
from xctvol.sources.base import Pixels, check_target, describe_pixels
from xctvol.sources.leaf import Leaf
from xctvol.sources.section import Axis, Depth, Labels, draw
from xctvol.units import Spacing

__all__ = ["PHANTOM_MATERIALS", "Phantom", "parse_phantom"]

PHANTOM_MATERIALS = Materials.from_json(
    [
        {"name": "background", "mask": 170, "color": "#000000"},
        {"name": "epidermis", "mask": 85, "color": "#1b5e20"},
        {"name": "mesophyll", "mask": 0, "color": "#9ccc65"},
        {"name": "air space", "mask": 255, "color": "#ffffff"},
        {"name": "bundle sheath extension", "mask": 152, "color": "#cc5500"},
        {"name": "vein", "mask": 220, "color": "#6d4c41"},
    ]
)
"""The materials of the phantom, labels 1 to 6; mask values are those of a published leaf."""

_FORMAT = 2  # raise it when the same phantom comes to have other voxels

# Grey values, in units of the scan; index 0 is unused.
_GREY = np.array([0, 9000, 33000, 29500, 12500, 20500, 37000], np.float32)
_WALL_GREY, _WALL_UM = 7000, 2.5  # phase contrast brightens walls
_NOISE_GREY, _RING_GREY, _SHADE_GREY = 2600, 900, 1500


@dataclass(frozen=True)
class Phantom:
    """A leaf of `shape` (z, y, x) voxels, uint16; its ground truth comes with `labels_into`.

    The leaf depends on the extent of a section in um and on the seed: other spacing over the same
    extent samples the same leaf. Blur, rings and noise belong to the detector, so to voxels.
    """

    shape: Index3
    spacing: Spacing = Spacing(2.0, 2.0, 2.0)  # noqa: RUF009 - frozen, so safe to share
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise UsageError(f"a phantom of {self.shape} voxels (z, y, x) has none")
        if self.seed < 0:
            raise UsageError(f"the seed {self.seed} of a phantom is not a whole number from 0 on")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16)

    @property
    def spacing_origin(self) -> str:
        return "the phantom's own"

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    @property
    def leaf(self) -> Leaf:
        _, rows, columns = self.shape
        return Leaf(rows * self.spacing.y, columns * self.spacing.x, self.seed)

    def identity(self) -> Any:
        return {
            "phantom": _FORMAT,
            "shape": list(self.shape),
            "spacing": list(self.spacing.zyx),
            "seed": self.seed,
        }

    def summary(self) -> tuple[str, ...]:
        return (
            f"phantom of a leaf, seed {self.seed}",
            describe_pixels(self.shape, self.dtype),
            f"voxel size {self.spacing}",
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        """Fill `out` (z1 - z0, y, x) with the grey values of slices z0 to z1."""
        check_target(self, z0, z1, out)
        labels = np.empty(self.shape[1:], np.uint8)
        depth = np.empty(self.shape[1:], np.float32)
        steady = _steady(self.shape[1], self.shape[2], self.seed)
        for z, target in zip(range(z0, z1), out, strict=True):
            self._draw(z, labels, depth)
            _expose(labels, depth, steady, np.random.SFC64([self.seed, z + 1]), target)

    def labels_into(self, z0: int, z1: int, out: Labels) -> None:
        """Fill `out` (z1 - z0, y, x) with the labels of PHANTOM_MATERIALS, slices z0 to z1."""
        assert out.shape == (z1 - z0, *self.shape[1:])
        depth = np.empty(self.shape[1:], np.float32)
        for z, target in zip(range(z0, z1), out, strict=True):
            self._draw(z, target, depth)

    def _draw(self, z: int, labels: Labels, depth: Depth) -> None:
        _, rows, columns = self.shape
        y, x = Axis(self.spacing.y, rows), Axis(self.spacing.x, columns)
        draw(self.leaf, (z + 0.5) * self.spacing.z, y, x, labels, depth)


def parse_phantom(text: str, spacing: Spacing | None = None) -> Phantom:
    """A phantom as typed: sizes along z, y, x and, if wanted, the seed.

    >>> parse_phantom("96x320x320?seed=3").seed
    3
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?:\?seed=(\d+))?", text)
    if match is None:
        raise UsageError(
            f"cannot read the phantom {text!r}: write its sizes along z, y, x and a seed, as in "
            "phantom:96x320x320?seed=0"
        )
    z, y, x = (int(size) for size in match.groups()[:3])
    return Phantom((z, y, x), spacing or Spacing(2, 2, 2), int(match[4] or 0))


def _steady(rows: int, columns: int, seed: int) -> NDArray[np.float32]:
    """What is the same in every slice (y, x): rings around the axis, and shade to the border."""
    y = np.arange(rows, dtype=np.float32) - rows / 2
    x = np.arange(columns, dtype=np.float32) - columns / 2
    radius = np.sqrt(y[:, np.newaxis] ** 2 + x**2)
    reach = int(radius.max()) + 2
    rings = np.random.Generator(np.random.SFC64([seed, 0])).standard_normal(reach, np.float32)
    rings *= _RING_GREY
    shade = _SHADE_GREY * (radius / reach) ** 2
    return (rings[radius.astype(np.intp)] - shade).astype(np.float32)


def _expose(
    labels: Labels,
    depth: Depth,
    steady: NDArray[np.float32],
    chance: np.random.SFC64,
    out: NDArray[np.uint16],
) -> None:
    """Grey values of a section: attenuation, bright walls, blur, rings and noise."""
    grey = np.take(_GREY, labels, mode="clip")
    wall = np.multiply(depth, -_WALL_GREY / _WALL_UM)
    wall += _WALL_GREY
    np.maximum(wall, 0, out=wall)
    wall *= depth > 0
    grey += wall
    _blur(grey, wall)
    grey += steady
    noise = np.random.Generator(chance).standard_normal(out=wall, dtype=np.float32)
    noise *= _NOISE_GREY
    grey += noise
    np.maximum(grey, 0, out=grey)  # the upper end is many standard deviations away
    np.copyto(out, grey, casting="unsafe")


def _blur(image: NDArray[np.float32], spare: NDArray[np.float32]) -> None:
    """Spread each voxel over its neighbours by 1 2 1, along y and x; borders keep their value."""
    for view, work in ((image, spare), (image.T, spare.T)):
        np.add(view[:-2], view[2:], out=work[1:-1])
        work[1:-1] *= 0.25
        view[1:-1] *= 0.5
        view[1:-1] += work[1:-1]
