"""What kind of file a file is, by its first bytes."""

from enum import Enum
from pathlib import Path

from xctvol.errors import InputError
from xctvol.sources.base import readable

__all__ = ["Kind", "kind_of"]


class Kind(Enum):
    """The kinds of files that hold pixels; the value is the name people know."""

    TIFF = "TIFF"
    PNG = "PNG"
    BMP = "BMP"
    JPEG = "JPEG"
    PGM = "PGM"
    NPY = "npy"
    RAW = "raw"
    HDF5 = "HDF5"

    @property
    def is_image(self) -> bool:
        return self in (Kind.TIFF, Kind.PNG, Kind.BMP, Kind.JPEG, Kind.PGM)


_BEGINNINGS = (
    (b"II*\0", Kind.TIFF),
    (b"MM\0*", Kind.TIFF),
    (b"II+\0", Kind.TIFF),
    (b"MM\0+", Kind.TIFF),
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"\x93NUMPY", Kind.NPY),
    (b"\x89HDF\r\n\x1a\n", Kind.HDF5),
)
_WEAK_BEGINNINGS = {  # two letters begin many a text, so the name must agree
    ".bmp": (Kind.BMP, (b"BM",)),
    ".pgm": (Kind.PGM, (b"P2", b"P5")),
}
_NAMED_LIKE = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".npy", ".h5", ".hdf5")


def kind_of(path: Path) -> Kind | None:
    """The kind of `path`, or None for a file that holds no pixels and does not claim to.

    Raises InputError for a file that cannot be read, or is named like an image and is none: left
    out silently, it would make a scan shorter.
    """
    suffix = path.suffix.lower()
    if suffix == ".raw":  # nothing in a raw file says that it is one
        return Kind.RAW
    with readable(path), open(path, "rb", buffering=0) as file:
        beginning = file.read(8)
    for expected, kind in _BEGINNINGS:
        if beginning.startswith(expected):
            return kind
    kind, expected_any = _WEAK_BEGINNINGS.get(suffix, (Kind.RAW, ()))
    if beginning.startswith(expected_any):
        return kind
    if suffix in _NAMED_LIKE:
        state = "is empty" if not beginning else f"begins with {beginning!r}"
        raise InputError(
            f"{path} {state}: it is no {suffix[1:].upper()} file whatever its name says; copy it "
            "again, or take it out of the scan"
        )
    return None
