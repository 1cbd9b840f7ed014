"""Where the pixels of an NRRD, MetaImage or NIfTI file lie, by its own header.

SimpleITK reads such files as a whole. Those that are not compressed need not be: their slices lie
one after the other. And a header may name any file as the one with its pixels, which must not be
opened unless it lies beside it.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from xctvol.errors import InputError
from xctvol.sources.base import decoding, file_bytes, readable
from xctvol.sources.kinds import Kind

__all__ = ["Place", "find_place"]

Order = Literal["<", ">"]

_HEADER_BYTES = 1 << 20  # more than any header; pixels may follow
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_AXES = 3
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Place:
    """The file with the pixels: from byte `offset` on, or None where they must be decoded.

    A negative offset says that they end with the file. `units` are those of the voxel size along
    z, y and x, none where the file states none; `has_spacing` is whether it states a voxel size
    that can be told from them.
    """

    path: Path
    offset: int | None
    order: Order
    units: tuple[str, ...] = ()
    has_spacing: bool = True


def find_place(kind: Kind, path: Path) -> Place:
    """Where the pixels of `path` lie; raises InputError for damaged or far-reaching headers."""
    find = {Kind.NRRD: _in_nrrd, Kind.META: _in_meta, Kind.NIFTI: _in_nifti}[kind]
    with readable(path), open(path, "rb") as file:
        beginning = file.read(_HEADER_BYTES)
    with decoding(path):
        return find(path, beginning)


def _in_nrrd(path: Path, beginning: bytes) -> Place:
    """https://teem.sourceforge.net/nrrd/format.html"""
    blank = _BLANK_LINE.search(beginning)
    fields = _fields(beginning[: blank.start()] if blank else beginning, ":")
    name = fields.get("data file", fields.get("datafile"))
    if not blank and not name and len(beginning) == _HEADER_BYTES:
        raise InputError(f"{path} has a header of more than {_HEADER_BYTES} bytes; it is damaged")
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    plain = fields["encoding"] == "raw" and int(fields.get("line skip", "0")) == 0
    start = 0 if name else blank.end() if blank else len(beginning)
    units, has_spacing = _nrrd_units(fields)
    return Place(
        path if name is None else _beside(path, name),
        (skip if skip < 0 else start + skip) if plain else None,
        ">" if fields.get("endian") == "big" else "<",
        units,
        has_spacing,
    )


def _nrrd_units(fields: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
    """The units of a voxel along z, y and x, none where none are stated; whether its size is known.

    `units` are those of the image's axes, x first; `space units` those of the world, along which
    these axes need not lie.
    """
    known = "spacings" in fields or "space directions" in fields
    stated = fields.get("space units", fields.get("units", ""))
    units = [unit.strip() for unit in _QUOTED.findall(stated)][:_AXES]
    if not any(units):
        return (), known
    unclear = "space units" in fields and len(set(units)) > 1
    if len(units) < _AXES or not all(units) or unclear:
        return (), False
    return tuple(reversed(units)), known


def _in_meta(path: Path, beginning: bytes) -> Place:
    """https://itk.org/Wiki/ITK/MetaIO/Documentation"""
    before, _, rest = beginning.partition(b"ElementDataFile")
    line, newline, _ = rest.partition(b"\n")
    name = line.decode().strip(" =\r\t")
    fields = _fields(before, "=")
    skip = int(fields.get("headersize", "0"))
    start = len(before) + len(b"ElementDataFile") + len(line) + len(newline)
    plain = _is_true(fields, "binarydata", "true") and not _is_true(fields, "compresseddata")
    big = _is_true(fields, "binarydatabyteordermsb") or _is_true(fields, "elementbyteordermsb")
    local = name.upper() == "LOCAL"
    return Place(
        path if local else _beside(path, name),
        (skip or (start if local else 0)) if plain else None,  # it counts from the file's start
        ">" if big else "<",
        has_spacing="elementspacing" in fields or "elementsize" in fields,
    )


def _in_nifti(path: Path, beginning: bytes) -> Place:
    """https://nifti.nimh.nih.gov/nifti-1"""
    if beginning[:2] == b"\x1f\x8b":
        return Place(path, None, "<")
    if beginning[4:7] == b"n+2":
        raise InputError(f"{path} is NIfTI-2, which SimpleITK does not read; save it as NIfTI-1")
    order: Order = "<" if beginning[:2] == b"\x5c\x01" else ">"  # of the header's size, 348
    offset, slope, shift = struct.unpack_from(f"{order}3f", beginning, 108)
    rescaled = slope != 0 and (slope, shift) != (1, 0)
    return Place(path, None if rescaled else int(offset), order)


def _fields(text: bytes, separator: str) -> Mapping[str, str]:
    """Lines `key: value` of a header, keys in small letters; comments have no separator or '#'."""
    fields: dict[str, str] = {}
    for line in text.decode(errors="replace").splitlines():
        key, found, value = line.partition(separator)
        if found and not line.startswith("#"):
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def _is_true(fields: Mapping[str, str], key: str, otherwise: str = "false") -> bool:
    return fields.get(key, otherwise).lower() in ("true", "1")


def _beside(path: Path, name: str) -> Path:
    """The file of that name in the folder of `path` or below; nothing else is opened."""
    parts = PurePath(name)
    if name.split()[0] == "LIST" or "%" in name:
        raise InputError(f"{path} has its slices in many files ({name}); open these as a stack")
    if parts.is_absolute() or ".." in parts.parts:
        raise InputError(
            f"{path} says that its pixels are in {name}; only files in its own folder are opened: "
            "put it there, and name it so"
        )
    file_bytes(path.parent / name)  # raises where there is none
    return path.parent / name
