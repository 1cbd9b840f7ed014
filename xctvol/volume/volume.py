"""Volumes: (z, y, x) images on disk with their resolutions, voxel size and history."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, PlanError
from xctvol.files import WORK, holds_something, remove_tree, states_below
from xctvol.grid import Box, Index3
from xctvol.journal import Recipe
from xctvol.locations import Location, located
from xctvol.units import Spacing
from xctvol.volume import metadata
from xctvol.volume.array import Array, ShardedArray, open_array
from xctvol.volume.buffers import reused
from xctvol.volume.checksums import Checksums
from xctvol.volume.codecs import Codec
from xctvol.volume.layout import Layout, layout_of
from xctvol.volume.pyramid import Halve, halved_shape
from xctvol.volume.threads import in_threads
from xctvol.volume.window import Window

if TYPE_CHECKING:
    import xarray

__all__ = ["ImageProduct", "Image", "Volume", "halved_in_threads", "open_volume"]

T = TypeVar("T")


@dataclass(frozen=True)
class Volume:
    """A finished multiscale image: axes (z, y, x), level 0 the finest.

    `window` is the range of original grey values that 0..255 stand for, where the volume was
    stored as uint8; `source_dtype` is the type the scan had. `own` is what this package recorded.
    """

    path: Location
    levels: tuple[Array, ...]
    spacings: tuple[Spacing, ...]
    """Voxel size of each level."""
    own: Mapping[str, Any]

    @property
    def shape(self) -> Index3:
        return self.levels[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.levels[0].dtype

    @property
    def spacing(self) -> Spacing:
        return self.spacings[0]

    @property
    def window(self) -> Window | None:
        window = self.own.get("window")
        return None if window is None else Window.from_json(window)

    @property
    def histogram(self) -> tuple[int, ...] | None:
        """Voxels of each stored value 0..255, where the window was found by counting them."""
        counts = self.own.get("histogram")
        try:
            return None if counts is None else tuple(int(count) for count in counts)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{self.path}: its histogram is damaged ({error!r})") from error

    @property
    def source_dtype(self) -> np.dtype[Any]:
        name = self.own.get("source_dtype", self.dtype.name)
        try:
            return np.dtype(str(name))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self.path} does not say what its scan held: {name!r:.40}"
            ) from error

    @property
    def recipe(self) -> Recipe | None:
        """How this package made it, or None for the volume of another program."""
        return Recipe.from_json(self.own["recipe"]) if "recipe" in self.own else None

    @property
    def digest(self) -> str:
        """Identity of the content, for recipes of what is made from it.

        Of the volume of another program it is that of its files, by their sizes and times.
        """
        return self._files_digest if self.recipe is None else self.recipe.digest

    @cached_property
    def _files_digest(self) -> str:
        """Without labels, which come and go."""
        states = states_below(self.path)
        files = {name: states[name] for name in sorted(states) if not name.startswith("labels/")}
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()

    def read(self, box: Box, level: int = 0) -> NDArray[Any]:
        """A new C-contiguous array of the voxels of `box`, in coordinates of that level."""
        out = np.empty(box.shape, self.levels[level].dtype)
        self.levels[level].read_into(box, out)
        return out

    def to_xarray(self, level: int = 0) -> "xarray.DataArray":
        """Dask-backed array with coordinates of voxel centres in micrometres; reads nothing yet."""
        from xctvol.volume.labelled import to_xarray  # xarray and dask take seconds to import

        return to_xarray(self.levels[level], self.spacings[level], self.spacing, self.path.stem)


def open_volume(path: str | Location) -> Volume:
    """Open an OME-Zarr; raises InputError where there is none, or it is unfinished or damaged."""
    path = located(path)
    ome, own = metadata.read_attributes(path)
    try:
        image = ome["multiscales"][0]
        names = [str(dataset["path"]) for dataset in image["datasets"]]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path} is not a volume: it has no multiscales metadata") from error
    if not names or any(name.startswith("/") or ".." in name for name in names):
        raise InputError(f"{path}: its levels {names} do not lie inside it")
    spacings = metadata.read_spacings(path, image)
    return Volume(path, tuple(open_array(path / name) for name in names), spacings, own)


@dataclass(frozen=True)
class Image:
    """An image that is being written: slab by slab, every slab with its part of the pyramid."""

    path: Location
    shape: Index3
    dtype: np.dtype[Any]
    codec: Codec

    @property
    def layout(self) -> Layout:
        return layout_of(self.shape)

    @property
    def levels(self) -> tuple[ShardedArray, ...]:
        return tuple(
            ShardedArray(
                self.path / str(n), level.shape, self.dtype, level.shard, level.chunk, self.codec
            )
            for n, level in enumerate(self.layout.levels)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all levels before compression: what is written at most, give or take indexes."""
        voxels = sum(level.shape[0] * level.shape[1] * level.shape[2] for level in self.levels)
        return voxels * self.dtype.itemsize

    def write(self, z0: int, slab: NDArray[Any], halve: Halve) -> list[dict[str, str]]:
        """Write the slab that begins at slice `z0`, and what it becomes at every level.

        Returns the checksums of the shards that are stored, by key, for each level.
        """
        return self.write_levels(z0, self.halvings(slab, halve))

    def halvings(self, slab: NDArray[Any], halve: Halve) -> list[NDArray[Any]]:
        """A slab and what it becomes at every coarser level."""
        slabs = [slab]
        for _ in self.levels[1:]:
            slabs.append(halved_in_threads(slabs[-1], halve))
        return slabs

    def write_levels(
        self, z0: int, slabs: Sequence[NDArray[Any]], first: int = 0
    ) -> list[dict[str, str]]:
        """Write one slab, which begins at slice `z0`, at the levels from `first`.

        The shards of all levels are written side by side: one waits for the disk while others are
        encoded. Returns their checksums like `write`.
        """
        levels = range(first, first + len(slabs))
        parts = [
            (level, shard, voxels)
            for level, slab in zip(levels, slabs, strict=True)
            for shard, voxels in self.levels[level].slab_shards(z0 >> level, slab)
        ]
        written = in_threads(lambda part: self.levels[part[0]].write_shard(*part[1:]), parts)
        stored = [(part[0], part[1].key, crc) for part, crc in zip(parts, written, strict=True)]
        return [{key: crc for n, key, crc in stored if n == level and crc} for level in levels]

    def finish(
        self,
        spacing: Spacing,
        ome: Mapping[str, Any],
        own: Mapping[str, Any],
        checksums: Checksums | None = None,
    ) -> None:
        """Write the metadata, the group's last: only now is there an image to open."""
        for number, level in enumerate(self.levels):
            level.write_metadata(checksums.attributes(number) if checksums else {})
        factors = [level.factor for level in self.layout.levels]
        scales = metadata.multiscales(self.path.stem, spacing, factors)
        metadata.group(self.path, {"multiscales": scales, **ome}, own)


def halved_in_threads(slab: NDArray[Any], halve: Halve) -> NDArray[Any]:
    """Half of a slab, made of pairs of slices side by side: any number of threads gives the same.

    That also bounds what halving holds meanwhile, whatever the depth of the slab. The memory is
    that of the last slab of this shape in this thread.
    """
    out = reused(f"half of {slab.shape}", halved_shape(slab.shape), slab.dtype)
    in_threads(lambda z: halve(slab[2 * z : 2 * z + 2], out=out[z : z + 1]), range(len(out)))
    return out


@dataclass(frozen=True)
class ImageProduct(Generic[T]):
    """An image group as the product of a plan; finished once its group metadata is there."""

    path: Location
    opener: Callable[[Location], T]
    beside: tuple[str, ...] = ()
    """What else in the group belongs to the product, besides the image."""

    @property
    def work(self) -> Location:
        return self.path / WORK

    def made_by(self) -> Recipe | None:
        # in this order: a run makes the work before anything else, and takes it away after the mark
        begun, at_work = holds_something(self.path), self.work.exists()
        recipe = None
        if self._mark.exists():
            _, own = metadata.read_attributes(self.path)
            recipe = own.get("recipe")
        elif at_work or not begun:
            return None
        if recipe is None:
            raise PlanError(
                f"{self.path} exists and was not made by xctvol, which will not touch it; "
                "choose another name"
            )
        return Recipe.from_json(recipe)

    def open(self) -> T:
        return self.opener(self.path)

    def remove(self) -> None:
        """Delete the image; labels of a volume, and what anybody has put there, stay."""
        self._mark.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.name.isdecimal() or entry.name in self.beside:
                remove_tree(entry)

    @property
    def _mark(self) -> Location:
        return self.path / "zarr.json"
