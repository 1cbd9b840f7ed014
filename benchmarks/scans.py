"""Scans of any size that are made up: a library of convert.py, which does nothing by itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xctvol.sources.phantom import Phantom
from xctvol.units import Spacing

SPACING = Spacing(2.0, 2.0, 2.0)


def stack(slices, side):
    """Slices of the phantom: a few, mirrored and shifted so that none equals another."""
    made = np.empty((16, side, side), np.uint16)
    Phantom(made.shape, SPACING).read_into(0, 16, made)
    return np.stack([np.roll(made[z % 16], 7 * z, axis=0) for z in range(slices)])


@dataclass(frozen=True)
class Endless:
    """A scan of any length from few slices in a file, shifted so that no slab equals another."""

    path: Path
    shape: tuple[int, int, int]
    spacing: Spacing = SPACING
    spacing_origin: str = "made up"
    files: tuple[Path, ...] = ()
    dtype = np.dtype(np.uint16)

    def identity(self):
        return {"endless": list(self.shape)}

    def summary(self):
        return ()

    def read_into(self, z0, z1, out):
        made = np.load(self.path, mmap_mode="r")
        for z, target in zip(range(z0, z1), out, strict=True):
            shift = 7 * z % self.shape[1]
            target[shift:] = made[z % len(made), : self.shape[1] - shift]
            target[:shift] = made[z % len(made), self.shape[1] - shift :]
