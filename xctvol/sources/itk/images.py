"""One image file as SimpleITK sees it: its header, and its pixels."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its manual writes it

from xctvol.errors import InputError
from xctvol.grid import Index3
from xctvol.sources.base import Pixels, readable

__all__ = ["ItkHeader", "read_header", "read_pixels"]

# It warns of what is harmless or raised here, on the terminal of whoever calls.
sitk.ProcessObject.GlobalWarningDisplayOff()

_ADDRESS = re.compile(r"\w+\(0x[0-9a-f]+\): ")  # of the object that failed

_DTYPES = {
    sitk.sitkUInt8: np.uint8,
    sitk.sitkInt8: np.int8,
    sitk.sitkUInt16: np.uint16,
    sitk.sitkInt16: np.int16,
    sitk.sitkUInt32: np.uint32,
    sitk.sitkInt32: np.int32,
    sitk.sitkUInt64: np.uint64,
    sitk.sitkInt64: np.int64,
    sitk.sitkFloat32: np.float32,
    sitk.sitkFloat64: np.float64,
}


@dataclass(frozen=True)
class ItkHeader:
    """`shape` (z, y, x), `dtype` after rescaling, `spacing` in the format's unit, and all tags."""

    shape: Index3
    dtype: np.dtype[Any]
    spacing: tuple[float, float, float]
    tags: Mapping[str, str] = field(repr=False)

    @property
    def nbytes(self) -> int:
        z, y, x = self.shape
        return z * y * x * self.dtype.itemsize


def read_header(path: Path, image_io: str) -> ItkHeader:
    """The header of a grey image of up to three axes; raises InputError for all others."""
    with _reader(path, image_io) as reader:
        reader.ReadImageInformation()
        size, spacing = list(reader.GetSize()), list(reader.GetSpacing())
        components, pixel = reader.GetNumberOfComponents(), reader.GetPixelID()
        tags = {key: reader.GetMetaData(key).strip("\0 ") for key in reader.GetMetaDataKeys()}
    if components != 1 or pixel not in _DTYPES:
        raise InputError(
            f"{path} holds {sitk.GetPixelIDValueAsString(pixel)} of {components} components; a "
            "scan has one whole or real number a voxel"
        )
    if any(n != 1 for n in size[3:]) or min(size) < 1:
        raise InputError(
            f"{path} holds {' x '.join(map(str, size))} voxels (x, y, z, ...); a scan has three "
            "axes: save one time or channel of it"
        )
    x, y, z = (*size, 1)[:3]
    per_x, per_y, per_z = (*spacing, 1.0)[:3]
    return ItkHeader((z, y, x), np.dtype(_DTYPES[pixel]), (per_z, per_y, per_x), tags)


def read_pixels(path: Path, image_io: str) -> Pixels:
    """All voxels of a file, (z, y, x) or as many axes as it has."""
    with _reader(path, image_io) as reader:
        pixels: Pixels = sitk.GetArrayFromImage(reader.Execute())
        return pixels


@contextmanager
def _reader(path: Path, image_io: str) -> Iterator[sitk.ImageFileReader]:
    """A reader of one format, so that no other guesses; its failures become InputErrors."""
    with readable(path), open(path, "rb"):  # what the system refuses, in its own words
        pass
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        yield reader
    except RuntimeError as error:  # all that SimpleITK raises
        why = " ".join(_ADDRESS.sub("", str(error).rpartition("ERROR:")[2]).split())
        raise InputError(f"cannot read {path}: {why}; the file is damaged or cut") from None
