"""What every source of pixels offers, and the few steps that all formats share."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.files import refuse_special
from xctvol.grid import Index3
from xctvol.journal import file_identity
from xctvol.units import Spacing, format_bytes

__all__ = [
    "DEFLATE_DENSEST",
    "GREY_KINDS",
    "Pixels",
    "Source",
    "check_plausible",
    "check_target",
    "decoding",
    "describe_files",
    "describe_palette",
    "describe_pixels",
    "describe_spacing",
    "file_bytes",
    "files_identity",
    "has_palette",
    "is_grey",
    "read_exactly",
    "readable",
]

Pixels = NDArray[Any]
"""An array of any grey dtype."""

GREY_KINDS = "uif"  # numpy kinds of whole and real numbers
_WIDEST_GREY = 8  # bytes: long doubles are not the same on all machines

DEFLATE_DENSEST = 1032
"""Bytes that one deflated byte stands for at best: 258 take two bits."""

_HARMLESS_BYTES = 1 << 26


class Source(Protocol):
    """Where the pixels of a scan are. A frozen, picklable value; opening it read no pixels."""

    @property
    def shape(self) -> Index3: ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels, in native byte order."""
        ...

    @property
    def spacing(self) -> Spacing | None:
        """Voxel size as given or as the files say believably; None where unknown."""
        ...

    @property
    def spacing_origin(self) -> str:
        """What said the voxel size, for people; empty where it is unknown."""
        ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    def identity(self) -> Any:
        """A small JSON value that changes when any pixel may have changed."""
        ...

    def summary(self) -> tuple[str, ...]:
        """Lines for people: which files, in what order, and what they hold."""
        ...

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        """Fill `out`, C-contiguous (z1 - z0, y, x) of `dtype`, with slices z0 to z1.

        Threads may call it at the same time. Raises InputError naming the file, and the page
        where there are several, when pixels cannot be read.
        """
        ...


def is_grey(dtype: np.dtype[Any]) -> bool:
    """Whether such values are whole or real numbers that a volume can hold."""
    return dtype.kind in GREY_KINDS and dtype.itemsize <= _WIDEST_GREY


def has_palette(source: Source) -> bool:
    """Whether voxels are numbers of colours in a palette: labels perhaps, but no grey values."""
    return bool(getattr(source, "palette", False))


def describe_palette(source: Source) -> tuple[str, ...]:
    """A line for people, where there is something to say."""
    return ("voxels are numbers of colours in a palette",) if has_palette(source) else ()


def check_target(source: Source, z0: int, z1: int, out: Pixels) -> None:
    """Assert the contract of `Source.read_into`."""
    assert 0 <= z0 <= z1 <= source.shape[0], (z0, z1, source.shape)
    assert out.shape == (z1 - z0, *source.shape[1:]), (out.shape, source.shape)
    assert out.dtype == source.dtype, (out.dtype, source.dtype)
    assert out.flags.c_contiguous


def files_identity(files: Sequence[Path]) -> dict[str, Any]:
    """Count and digest of the names, sizes and times of `files`: short, however many there are."""
    try:
        each = [file_identity(path) for path in files]
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    digest = hashlib.sha256(json.dumps(each).encode()).hexdigest()
    return {"files": len(files), "first": files[0].name, "digest": digest}


def describe_pixels(shape: Index3, dtype: np.dtype[Any]) -> str:
    z, y, x = shape
    size = format_bytes(z * y * x * dtype.itemsize)
    return f"{z} x {y} x {x} voxels (z, y, x) of {dtype}, {size}"


def describe_files(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return str(files[0])
    return f"{len(files)} files, {files[0].name} to {files[-1].name}, in {files[0].parent}"


def describe_spacing(spacing: Spacing | None, origin: str) -> str:
    return "voxel size unknown" if spacing is None else f"voxel size {spacing} ({origin})"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the failures of the system to read `path` into one-line InputErrors."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def decoding(what: str | Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a one-line InputError that says what cannot be read."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders raise all sorts for damaged files
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read {what}: {why}; the file is damaged or cut") from error


def file_bytes(path: Path) -> int:
    """Size of a regular file; raises InputError for anything else."""
    refuse_special(path)
    with readable(path):
        return path.stat().st_size


def check_plausible(path: Path, nbytes: int, densest: int) -> None:
    """Refuse a header that claims more pixels than the file can hold, before memory is taken.

    `densest` is how many bytes of pixels the format packs into one byte at best. Raises InputError
    where `nbytes` of pixels need a larger file, and more memory than any damaged file may take.
    """
    size = file_bytes(path)
    if nbytes > max(_HARMLESS_BYTES, densest * size):
        raise InputError(
            f"{path} claims {format_bytes(nbytes)} of pixels, which its {size} bytes cannot hold; "
            "the file is damaged or was cut short"
        )


def read_exactly(path: Path, places: Sequence[tuple[int, Pixels]]) -> None:
    """Fill each C-contiguous array from the bytes of `path` that start at its offset."""
    with readable(path), open(path, "rb", buffering=0) as file:
        for offset, out in places:
            file.seek(offset)
            view = out.data.cast("B")
            while view:
                count = file.readinto(view)
                if not count:
                    raise InputError(
                        f"{path} ends {len(view)} bytes early: it was cut short, or changed "
                        "while it was read; copy it again"
                    )
                view = view[count:]
