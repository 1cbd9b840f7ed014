"""Zarr folders of any writer: OME-Zarr images (0.4 and 0.5) and single arrays (v2 and v3)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.errors import InputError, shortened
from xctvol.files import read_json
from xctvol.grid import Box, Index3
from xctvol.sources.base import (
    Pixels,
    check_target,
    describe_pixels,
    describe_spacing,
    files_identity,
    is_grey,
    readable,
)
from xctvol.units import Spacing
from xctvol.volume import open_volume, read_attributes
from xctvol.volume.array import Array, open_array

__all__ = ["ZarrScan", "is_zarr", "open_zarr"]

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".xctvol")


@dataclass(frozen=True)
class ZarrScan:
    """A source that is an array (z, y, x) on disk: the finest level of an image, or alone."""

    array: Array
    spacing: Spacing | None = None
    spacing_origin: str = ""

    @property
    def shape(self) -> Index3:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def files(self) -> tuple[Path, ...]:
        """The folder of the array: its chunks may be millions."""
        return (self._folder,)

    @property
    def _folder(self) -> Path:
        assert isinstance(self.array.path, Path)  # only volumes can be in buckets
        return self.array.path

    def identity(self) -> Any:
        with readable(self._folder):
            inside = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return {"zarr": self._folder.name, **files_identity(inside)}

    def summary(self) -> tuple[str, ...]:
        return (
            str(self.array.path),
            describe_pixels(self.shape, self.dtype),
            describe_spacing(self.spacing, self.spacing_origin),
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        if z0 < z1:
            self.array.read_into(Box((z0, 0, 0), (z1, *self.shape[1:])), out)


def is_zarr(path: Path) -> bool:
    """Whether `path` is a zarr array or group, or was to become one."""
    return any((path / name).exists() for name in _METADATA)


def open_zarr(path: Path, dataset: str | None, spacing: Spacing | None) -> ZarrScan:
    """The finest level of an OME-Zarr image, or an array; time and channel may be single.

    `dataset` is a group or array inside `path`. Raises InputError for groups without an image,
    with what they hold, and for other axes.
    """
    path = path / (dataset or "").strip("/")
    if not is_zarr(path):
        raise InputError(f"{path} is not there; {path.parent} holds {_listed(path.parent)}")
    origin = "given"
    if _is_array(path):
        array = open_array(path)
    else:
        _refuse_plain_group(path)
        volume = open_volume(path)
        array = volume.levels[0]
        if spacing is None:
            spacing, origin = volume.spacing, _origin(path)
    if not is_grey(array.dtype):
        raise InputError(f"{path} holds {array.dtype}; a scan has a whole or real number a voxel")
    return ZarrScan(array, spacing, origin if spacing else "")


def _is_array(path: Path) -> bool:
    if (path / "zarr.json").exists():
        metadata = read_json(path / "zarr.json")
        return isinstance(metadata, dict) and metadata.get("node_type") == "array"
    return (path / ".zarray").exists()


def _refuse_plain_group(path: Path) -> None:
    stated = any((path / name).exists() for name in ("zarr.json", ".zattrs"))
    if stated and "multiscales" in read_attributes(path)[0]:
        return
    if _inside(path):
        raise InputError(
            f"{path} is a zarr group, not an image; it holds {_listed(path)}: name one of them "
            f"as the dataset, or open {path / _inside(path)[0]}"
        )


def _inside(path: Path) -> list[str]:
    """Names of the groups and arrays in a group."""
    return sorted(child.name for child in path.iterdir() if is_zarr(child)) if is_zarr(path) else []


def _listed(path: Path) -> str:
    return shortened(_inside(path)) or "no array"


def _origin(path: Path) -> str:
    """What said the voxel size of an image, with what had to be assumed."""
    axes = read_attributes(path)[0]["multiscales"][0]["axes"][-3:]
    remark = "" if all("unit" in axis for axis in axes) else "; taken to be in um"
    return f"OME-Zarr metadata of {path.name}{remark}"
