"""Volumes as xarray sees them: dimensions z, y, x and coordinates in micrometres."""

from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray
from numpy.typing import NDArray

from xctvol.grid import Box, Index3
from xctvol.units import Spacing
from xctvol.volume.array import Array

__all__ = ["to_xarray"]


@dataclass(frozen=True)
class _Lazy:
    """What dask needs of an array: slices of it, read when asked for."""

    array: Array

    @property
    def shape(self) -> Index3:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return 3

    def __getitem__(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """Basic indexing with forward slices and numbers, all that dask asks for."""
        wanted = [
            range(n)[i : i + 1] if isinstance(i, int) else range(n)[i]
            for i, n in zip(index, self.shape, strict=True)
        ]
        (z0, z1), (y0, y1), (x0, x1) = ((r.start, max(r.start, r.stop)) for r in wanted)
        box = Box((z0, y0, x0), (z1, y1, x1))
        out = np.empty(box.shape, self.dtype)
        self.array.read_into(box, out)
        steps = zip(index, wanted, strict=True)
        part: NDArray[Any] = out[
            tuple(0 if isinstance(i, int) else slice(None, None, r.step) for i, r in steps)
        ]
        return part


def to_xarray(array: Array, spacing: Spacing, finest: Spacing, name: str) -> xarray.DataArray:
    """`array` is one level of an image, with voxels of `spacing` where level 0 has `finest`.

    One dask chunk is several chunks of the array, so that it is worth a task.
    """
    chunks = tuple(min(n, 4 * c) for n, c in zip(array.shape, array.chunk, strict=True))
    data = dask.array.from_array(_Lazy(array), chunks=chunks, asarray=False, fancy=False)
    coordinates = {}
    for axis, count, size, smallest in zip(
        "zyx", array.shape, spacing.zyx, finest.zyx, strict=True
    ):
        centers = np.arange(count) * size + (size - smallest) / 2
        coordinates[axis] = (axis, centers, {"units": "micrometer"})
    return xarray.DataArray(data, coords=coordinates, dims=("z", "y", "x"), name=name)
