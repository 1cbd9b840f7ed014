"""What is exported: a part of one level of a volume or of labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.grid import Block, Box
from xctvol.labels import Labels
from xctvol.locations import Location
from xctvol.materials import Materials
from xctvol.units import Spacing
from xctvol.volume import SLAB, Volume, bytes_in_transit, open_volume
from xctvol.volume.reading import reading_bytes

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """The voxels `box` of a level, in coordinates of that level; `materials` are those of labels.

    It travels as a path. `finest` is the voxel size of level 0.
    """

    path: Location
    level: int
    box: Box
    dtype: np.dtype[Any]
    spacing: Spacing
    finest: Spacing
    materials: Materials | None = None

    @classmethod
    def of(cls, image: Volume | Labels, level: int, box: Box | None) -> "Picture":
        """Raises UsageError for a level that there is not, InputError for a box outside of it."""
        volume = image.volume if isinstance(image, Labels) else image
        if not 0 <= level < len(volume.levels):
            raise UsageError(
                f"{volume.path} has no level {level}; it has {len(volume.levels)}, from 0, the "
                "finest, on"
            )
        whole = Box.whole(volume.levels[level].shape)
        if box is not None and (box.size == 0 or box.intersect(whole) != box):
            raise InputError(
                f"the region {box.start} to {box.stop} (z, y, x) does not lie inside level {level} "
                f"of {volume.path}, which has {whole.shape} voxels"
            )
        return cls(
            volume.path,
            level,
            box or whole,
            volume.dtype,
            volume.spacings[level],
            volume.spacing,
            image.materials if isinstance(image, Labels) else None,
        )

    @property
    def origin(self) -> tuple[float, float, float]:
        """Where the centre of its first voxel is, (z, y, x) in um from that of the volume's.

        A voxel of a level lies in the middle of those of the finest that it stands for.
        """
        z, y, x = (
            start * size + (size - finest) / 2
            for start, size, finest in zip(
                self.box.start, self.spacing.zyx, self.finest.zyx, strict=True
            )
        )
        return (z, y, x)

    @property
    def nbytes(self) -> int:
        return self.box.size * self.dtype.itemsize

    @property
    def slab_bytes(self) -> int:
        """Of the thickest block."""
        _, y, x = self.box.shape
        return min(self._depth, self.box.shape[0]) * y * x * self.dtype.itemsize

    @property
    def chunk_depth(self) -> int:
        """Slices that are decoded as one; they begin at multiples of it in the level."""
        return int(self._array.chunk[0])

    def blocks(self) -> tuple[Block, ...]:
        """The picture slab by slab, none of which holds parts of two shards one behind the other.

        Their boxes count from the first voxel of the picture.
        """
        (_, y, x), first = self.box.shape, self.box.start[0]
        found: list[Block] = []
        for z0, z1 in self._cuts():
            box = Box((z0 - first, 0, 0), (z1 - first, y, x))
            found.append(Block(len(found), box, box))
        return tuple(found)

    def read(self, box: Box, out: NDArray[Any]) -> None:
        """Fill `out` with voxels of the picture."""
        self._array.read_into(self._in_level(box), out)

    def reading_bytes(self, boxes: Sequence[Box]) -> int:
        """The most memory that reading any of these boxes takes beside its voxels."""
        nbytes = max(box.size for box in boxes) * self.dtype.itemsize
        held = reading_bytes(self._array, map(self._in_level, boxes))
        return held + bytes_in_transit(self.path, nbytes)

    def _in_level(self, box: Box) -> Box:
        """A box of the picture in coordinates of the level."""
        start, stop = (
            tuple(a + b for a, b in zip(self.box.start, corner, strict=True))
            for corner in (box.start, box.stop)
        )
        (z0, y0, x0), (z1, y1, x1) = start, stop
        return Box((z0, y0, x0), (z1, y1, x1))

    def _cuts(self) -> Iterator[tuple[int, int]]:
        first, last = self.box.start[0], self.box.stop[0]
        for start in range(first - first % self._depth, last, self._depth):
            yield max(first, start), min(last, start + self._depth)

    @property
    def _depth(self) -> int:
        return max(1, SLAB >> self.level)

    @cached_property
    def _array(self) -> Any:
        return open_volume(self.path).levels[self.level]
