"""What kind of file a file is, by its first bytes."""

from enum import Enum
from pathlib import Path

from xctvol.errors import InputError
from xctvol.files import refuse_special
from xctvol.sources.base import readable

__all__ = ["Kind", "kind_of", "may_hold_pixels"]


class Kind(Enum):
    """The kinds of files that hold pixels; the value is the name people know."""

    TIFF = "TIFF"
    PNG = "PNG"
    BMP = "BMP"
    JPEG = "JPEG"
    PGM = "PGM"
    DICOM = "DICOM"
    NPY = "npy"
    RAW = "raw"
    HDF5 = "HDF5"
    NRRD = "NRRD"
    META = "MetaImage"
    NIFTI = "NIfTI"

    @property
    def is_image(self) -> bool:
        return self in (Kind.TIFF, Kind.PNG, Kind.BMP, Kind.JPEG, Kind.PGM)


_BEGINNING_BYTES = 352
_BEGINNINGS = (  # where in the file, which bytes
    (0, b"II*\0", Kind.TIFF),
    (0, b"MM\0*", Kind.TIFF),
    (0, b"II+\0", Kind.TIFF),
    (0, b"MM\0+", Kind.TIFF),
    (0, b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (0, b"\xff\xd8\xff", Kind.JPEG),
    (0, b"\x93NUMPY", Kind.NPY),
    (0, b"\x89HDF\r\n\x1a\n", Kind.HDF5),
    (0, b"NRRD000", Kind.NRRD),
    (4, b"n+2\0", Kind.NIFTI),
    (128, b"DICM", Kind.DICOM),
    (344, b"n+1\0", Kind.NIFTI),
)
_META_BEGINNINGS = (b"ObjectType", b"NDims", b"Comment")
_WEAK_BEGINNINGS = {  # two letters or a word begin many a file, so the name must agree
    ".bmp": (Kind.BMP, (b"BM",)),
    ".pgm": (Kind.PGM, (b"P2", b"P5")),
    ".mha": (Kind.META, _META_BEGINNINGS),
    ".mhd": (Kind.META, _META_BEGINNINGS),
    ".nii.gz": (Kind.NIFTI, (b"\x1f\x8b",)),
}
_RAW = ".raw"
_NAMED_LIKE = (
    ".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy", ".h5", ".hdf5", ".nrrd", ".nhdr", ".nii",
    ".dcm", *_WEAK_BEGINNINGS,
)  # fmt: skip  # a table


def may_hold_pixels(path: Path) -> bool:
    """Whether to look into what was found: files, and what is no file but named like an image.

    So `kind_of` refuses a folder, or a link to nowhere, in the place of a slice.
    """
    return path.is_file() or path.name.lower().endswith((*_NAMED_LIKE, _RAW))


def kind_of(path: Path) -> Kind | None:
    """The kind of `path`, or None for a file that holds no pixels and does not claim to.

    Raises InputError for a file that cannot be read, or is named like an image and is none: left
    out silently, it would make a scan shorter.
    """
    refuse_special(path)
    name = path.name.lower()
    if name.endswith(_RAW):  # nothing in a raw file says that it is one
        return Kind.RAW
    if name == "dicomdir":  # a list of DICOM files, which begins as they do
        return None
    with readable(path), open(path, "rb", buffering=0) as file:
        beginning = file.read(_BEGINNING_BYTES)
    for offset, expected, kind in _BEGINNINGS:
        if beginning.startswith(expected, offset):
            return kind
    for suffix, (kind, words) in _WEAK_BEGINNINGS.items():
        if name.endswith(suffix) and beginning.startswith(words):
            return kind
    if name.endswith(_NAMED_LIKE):
        state = "is empty" if not beginning else f"begins with {beginning[:8]!r}"
        raise InputError(
            f"{path} {state}: it is no {path.suffix[1:].upper()} file whatever its name says; copy "
            "it again, or take it out of the scan"
        )
    return None
