"""A part of a scan as a scan of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.errors import InputError
from xctvol.grid import Box, Index3
from xctvol.sources.base import Pixels, Source, check_target, describe_pixels, has_palette
from xctvol.units import Spacing

__all__ = ["Crop", "crop"]

_BATCH_BYTES = 1 << 26  # whole slices that are held while their part is cut out


@dataclass(frozen=True)
class Crop:
    """The voxels of `box` in another source; only slices that it touches are read."""

    source: Source
    box: Box

    @property
    def shape(self) -> Index3:
        return self.box.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def spacing(self) -> Spacing | None:
        return self.source.spacing

    @property
    def spacing_origin(self) -> str:
        return self.source.spacing_origin

    @property
    def files(self) -> tuple[Path, ...]:
        return self.source.files

    @property
    def palette(self) -> bool:
        return has_palette(self.source)

    def identity(self) -> Any:
        box = [list(self.box.start), list(self.box.stop)]
        return {"box": box, "of": self.source.identity()}

    def summary(self) -> tuple[str, ...]:
        z, y, x = (f"{a}:{b}" for a, b in zip(self.box.start, self.box.stop, strict=True))
        part = describe_pixels(self.shape, self.dtype)
        return (*self.source.summary(), f"of these, z {z}, y {y}, x {x}: {part}")

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        first, rows, columns = self.box.start[0], *self.box.slices[1:]
        plane = self.source.shape[1:]
        if self.shape[1:] == plane:
            self.source.read_into(first + z0, first + z1, out)
            return
        depth = max(1, _BATCH_BYTES // (plane[0] * plane[1] * self.dtype.itemsize))
        whole = np.empty((min(depth, z1 - z0), *plane), self.dtype)
        for z in range(z0, z1, depth):
            count = min(depth, z1 - z)
            self.source.read_into(first + z, first + z + count, whole[:count])
            out[z - z0 : z - z0 + count] = whole[:count, rows, columns]


def crop(source: Source, box: Box) -> Crop:
    """The part of `source` in `box`, in its voxels; raises InputError where not all is inside."""
    outside = any(a < 0 for a in box.start) or any(
        b > n for b, n in zip(box.stop, source.shape, strict=True)
    )
    if outside or box.size == 0:
        raise InputError(
            f"cannot cut out voxels {box.start} to {box.stop} (z, y, x): the scan has "
            f"{source.shape}, and a part of it lies inside and is not empty"
        )
    return Crop(source, box)
