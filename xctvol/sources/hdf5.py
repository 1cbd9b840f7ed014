"""HDF5 files: one three-dimensional dataset of them is a scan.

Every read opens the file anew, so that a source is a plain value: it goes to other processes,
and its threads share nothing. h5py itself lets one thread of a process at a time into HDF5.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xctvol.errors import InputError, shortened
from xctvol.grid import Index3
from xctvol.sources.base import (
    GREY_KINDS,
    Pixels,
    check_target,
    decoding,
    describe_pixels,
    describe_spacing,
    files_identity,
    is_grey,
    readable,
)
from xctvol.sources.tags import stated_spacing
from xctvol.units import Spacing

__all__ = ["Hdf5Dataset", "open_hdf5"]

# Beside these, a dataset holds what the detector saw, not slices: https://dxfile.readthedocs.io
_OF_PROJECTIONS = ("theta", "data_white", "data_dark")


@dataclass(frozen=True)
class Hdf5Dataset:
    """A source that is the dataset `name` (z, y, x) of an HDF5 file."""

    path: Path
    name: str
    shape: Index3
    dtype: np.dtype[Any]
    spacing: Spacing | None = None
    spacing_origin: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def identity(self) -> Any:
        return {**files_identity(self.files), "dataset": self.name}

    def summary(self) -> tuple[str, ...]:
        return (
            f"{self.path}, dataset {self.name}",
            describe_pixels(self.shape, self.dtype),
            describe_spacing(self.spacing, self.spacing_origin),
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        if z0 == z1:
            return
        with _opened(self.path) as file, decoding(f"{self.path}, dataset {self.name}"):
            dataset = file[self.name]
            if dataset.shape != self.shape or dataset.dtype.newbyteorder("=") != self.dtype:
                raise InputError(
                    f"{self.path}: dataset {self.name} now holds {_text(dataset)}; do not change "
                    "it meanwhile"
                )
            dataset.read_direct(out, np.s_[z0:z1])


def open_hdf5(path: Path, dataset: str | None, spacing: Spacing | None) -> Hdf5Dataset:
    """The dataset of that name, or the only one that can be a scan.

    Raises InputError, with a list, where there is not exactly one, and for what is no complete
    volume in this very file. Raw projections are refused.
    """
    with _opened(path) as file, decoding(path):
        found = _volumes(file)
        name = _only(path, found) if dataset is None else _named(path, file, found, dataset)
        chosen = found[name]
        _check_complete(path, name, chosen)
        origin = "given"
        if spacing is None:
            spacing, origin = _stated(path, chosen)
        dtype = chosen.dtype.newbyteorder("=")
        return Hdf5Dataset(path, name, chosen.shape, dtype, spacing, origin)


def _volumes(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All datasets of numbers along three axes, by name."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: Any) -> None:
        if _is_volume(item):
            found[name] = item

    file.visititems(visit)
    return found


def _is_volume(item: Any) -> bool:
    return (
        isinstance(item, h5py.Dataset)
        and is_grey(item.dtype)
        and item.ndim == 3
        and min(item.shape) > 0
    )


def _only(path: Path, found: dict[str, h5py.Dataset]) -> str:
    slices = [name for name, item in found.items() if not _projections_beside(item)]
    if len(slices) == 1:
        return slices[0]
    if slices:
        raise InputError(
            f"{path} holds several volumes: {_listed({n: found[n] for n in slices})}; name the "
            "dataset that is the scan"
        )
    for name, item in found.items():
        _refuse_projections(path, name, item)
    raise InputError(f"{path} holds no dataset of numbers along three axes (z, y, x)")


def _named(path: Path, file: h5py.File, found: dict[str, h5py.Dataset], dataset: str) -> str:
    """Check what a user named; enter it into `found` where only a link leads to it."""
    name = dataset.strip("/")
    item = file.get(name) if name else None
    if item is None or not _is_volume(item):
        what = "is not there" if item is None else f"is {_text(item)}, not a volume (z, y, x)"
        raise InputError(f"{path}: dataset {dataset} {what}; the file holds {_listed(found)}")
    _refuse_projections(path, name, item)
    found[name] = item
    return name


def _refuse_projections(path: Path, name: str, item: h5py.Dataset) -> None:
    beside = _projections_beside(item)
    if beside:
        raise InputError(
            f"{path}: dataset {name} holds raw projections, as {beside} beside it shows, not "
            "slices; reconstruct the scan first (TomoPy does), then convert its slices"
        )


def _projections_beside(item: h5py.Dataset) -> str:
    return next((name for name in _OF_PROJECTIONS if name in item.parent), "")


def _check_complete(path: Path, name: str, item: h5py.Dataset) -> None:
    """Refuse voxels that are elsewhere or were never written: HDF5 would make them up."""
    elsewhere = Path(item.file.filename) != path or item.external or item.is_virtual
    if elsewhere:
        raise InputError(
            f"{path}: the voxels of dataset {name} are in other files, and missing ones would go "
            "unnoticed; open the file that holds them, or copy them into one file"
        )
    if item.chunks is None:
        expected, written = item.nbytes, item.id.get_storage_size() if item.nbytes else 0
    else:
        expected = math.prod(-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True))
        written = item.id.get_num_chunks()
    if written < expected:
        raise InputError(
            f"{path}: only {written} of {expected} {'bytes' if item.chunks is None else 'chunks'} "
            f"of dataset {name} were ever written; the scan is not complete"
        )


def _stated(path: Path, item: h5py.Dataset) -> tuple[Spacing | None, str]:
    """The attribute that ilastik and ImageJ's HDF5 plugins write: z, y, x in um."""
    sizes = np.atleast_1d(item.attrs.get("element_size_um", ()))
    if sizes.shape != (3,) or sizes.dtype.kind not in GREY_KINDS:
        return None, ""
    spacing = stated_spacing(tuple(sizes.tolist()), "um")
    return spacing, f"element_size_um in {path.name}" if spacing else ""


def _listed(found: dict[str, h5py.Dataset]) -> str:
    items = [f"{name} ({_text(item)})" for name, item in found.items()]
    return shortened(items) or "no volumes"


def _text(item: Any) -> str:
    if not isinstance(item, h5py.Dataset):
        return "a group"
    return f"{' x '.join(map(str, item.shape))} {item.dtype}"


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with readable(path), open(path, "rb"):  # what the system refuses, in its own words
        pass
    with decoding(path), h5py.File(path, "r") as file:
        yield file
