"""Stacks: one file a slice, of any image format that can read one slice."""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xctvol.errors import InputError
from xctvol.grid import Index3
from xctvol.sources.base import (
    Pixels,
    check_target,
    describe_files,
    describe_palette,
    describe_pixels,
    describe_spacing,
    files_identity,
)
from xctvol.sources.order import find_order
from xctvol.units import Spacing

__all__ = ["Header", "ImageFormat", "Stack", "check_fits", "common_header", "open_stack"]

_THREADS = 8  # header reads wait for the file system, not for the processor


@dataclass(frozen=True)
class Header:
    """What the header of an image file says: its pages, all of `shape` (y, x) and `dtype`.

    `palette` holds the colours that pixels are numbers of; it is empty where they are grey values.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pages: int = 1
    spacing: Spacing | None = None
    spacing_origin: str = ""
    palette: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        pages = f"{self.pages} pages of " if self.pages > 1 else ""
        palette = f" with the palette {zlib.crc32(self.palette):08x}" if self.palette else ""
        return f"{pages}{self.shape[0]} x {self.shape[1]} pixels (y, x) of {self.dtype}{palette}"


class ImageFormat(Protocol):
    """What a format module offers for stacks; both raise InputError naming the file."""

    def read_header(self, path: Path) -> Header: ...

    def read_slice(self, path: Path, out: Pixels) -> None:
        """Fill `out` (y, x) with the only page of `path`, which must be of its shape and dtype."""
        ...


@dataclass(frozen=True)
class Stack:
    """A source of one image file a slice, in order."""

    files: tuple[Path, ...]
    shape: Index3
    dtype: np.dtype[Any]
    spacing: Spacing | None
    spacing_origin: str
    notes: tuple[str, ...]
    read_slice: Callable[[Path, Pixels], None] = field(repr=False)
    palette: bool = False

    def identity(self) -> Any:
        return files_identity(self.files)

    def summary(self) -> tuple[str, ...]:
        return (
            describe_files(self.files),
            describe_pixels(self.shape, self.dtype),
            describe_spacing(self.spacing, self.spacing_origin),
            *describe_palette(self),
            *self.notes,
        )

    def read_into(self, z0: int, z1: int, out: Pixels) -> None:
        check_target(self, z0, z1, out)
        for path, target in zip(self.files[z0:z1], out, strict=True):
            self.read_slice(path, target)


def open_stack(
    files: Sequence[Path], image_format: ImageFormat, spacing: Spacing | None, *, allow_gaps: bool
) -> Stack:
    """Order the files, read every header, and refuse what does not make one scan."""
    order = find_order(files, allow_gaps=allow_gaps)
    with ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(image_format.read_header, order.files))
    first = common_header(order.files, headers)
    origin, notes = "given", order.notes
    if spacing is None:
        spacing, origin = _agreed_spacing(headers)
        if spacing is not None and order.step != 1:
            notes += (
                f"pixels are {spacing.x:g} um wide, but how far apart slices are cannot be known "
                "where their names skip numbers",
            )
            spacing, origin = None, ""
    shape = (len(headers), *first.shape)
    read, palette = image_format.read_slice, bool(first.palette)
    return Stack(order.files, shape, first.dtype, spacing, origin, notes, read, palette)


def check_fits(path: Path, header: Header, out: Pixels) -> None:
    """Raise InputError where a file does not hold a slice like `out` (any more)."""
    if header.shape != out.shape or header.dtype != out.dtype:
        raise InputError(
            f"{path} holds {header}, but {out.shape} of {out.dtype} were found when the scan was "
            "opened; do not change it meanwhile"
        )


def common_header(files: Sequence[Path], headers: Sequence[Header]) -> Header:
    """What all headers say; raises InputError naming the first file that says something else."""
    kinds = [(header.shape, header.dtype, header.pages, header.palette) for header in headers]
    usual, count = Counter(kinds).most_common(1)[0]
    normal = headers[kinds.index(usual)]
    for path, header, kind in zip(files, headers, kinds, strict=True):
        if kind != usual:
            raise InputError(
                f"{path} holds {header}, but {count} of the {len(files)} files of this stack "
                f"hold {normal}; all slices of a scan must be alike"
            )
    if normal.pages > 1:
        raise InputError(
            f"{files[0]} holds {normal}, and so do all {len(files)} files; a stack has one page a "
            "file: open one of the files alone, or put their pages into one file"
        )
    return normal


def _agreed_spacing(headers: Sequence[Header]) -> tuple[Spacing | None, str]:
    """The voxel size that every file states, or None."""
    first = headers[0]
    if any(header.spacing != first.spacing for header in headers):
        return None, ""
    return first.spacing, first.spacing_origin
