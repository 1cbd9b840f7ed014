"""ImageJ's regions of interest: one .roi file, or the .zip that its ROI Manager saves."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from xctvol.annotations.base import IGNORE, Indices, Size
from xctvol.annotations.names import refuse_unknown, shows
from xctvol.annotations.outlines import Box, Patch, fill, oval, rectangle
from xctvol.errors import InputError
from xctvol.files import refuse_special
from xctvol.materials import Materials
from xctvol.sources.base import decoding, file_bytes, readable

__all__ = ["Rois", "positions"]

_OUTLINES = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
_DRAWINGS = (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.ARROW, ROI_SUBTYPE.IMAGE)
_MAX_ROI_BYTES = 1 << 26  # of one outline: four million corners
_MAX_ROIS = 100_000
_MAX_BYTES = 1 << 30  # of all outlines of a file


@dataclass(frozen=True)
class Rois:
    """The outlines in a file, later ones over earlier ones.

    With a `position`, the outlines of this slice, counted from 1; without, all of them, which
    must then belong to one slice.
    """

    path: Path
    position: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, size: Size, materials: Materials) -> Indices:
        rois = list(_rois(self.path))
        if self.position is None:
            _refuse_several_slices(self.path, rois)
        else:
            rois = [(name, roi) for name, roi in rois if _position(roi) == self.position]
        found = [shows(materials, name, roi.group) for name, roi in rois]
        unknown = (name for (name, _), index in zip(rois, found, strict=True) if index is None)
        refuse_unknown(f"{self.path}: the outlines", unknown, materials)
        indices = np.full(size, IGNORE, np.uint8)
        for (name, roi), index in zip(rois, found, strict=True):
            assert index is not None
            try:
                _patch(roi, size).paint(indices, index)
            except InputError as error:
                raise InputError(f"{self.path}: the outline {name!r}: {error}") from None
        return indices


def positions(path: Path) -> frozenset[int]:
    """The slices, counted from 1, that the outlines in `path` lie on.

    Raises InputError for an outline that lies on no slice in particular.
    """
    found = {_position(roi): name for name, roi in _rois(path)}
    if 0 in found:
        raise InputError(
            f"{path}: the outline {found[0]!r} belongs to no slice; tick 'Associate ROIs with "
            "slices' in the ROI Manager's options and update it on its slice, or save the outlines "
            "of each slice in a file of the slice's name"
        )
    return frozenset(found)


def _rois(path: Path) -> Iterator[tuple[str, ImagejRoi]]:
    """Outlines in the manager's order with the names it shows; nothing is written to disk."""
    refuse_special(path)
    with readable(path), open(path, "rb") as file, decoding(path):
        if path.suffix.lower() != ".zip":
            if file_bytes(path) > _MAX_ROI_BYTES:
                raise InputError(f"{path} is too large for one outline")
            roi = ImagejRoi.frombytes(file.read())
            yield roi.name or path.stem, roi
            return
        with zipfile.ZipFile(file) as archive:
            for member in _members(path, archive):
                name = PurePosixPath(member.filename).stem
                with decoding(f"{path}, outline {name!r}"):
                    roi = ImagejRoi.frombytes(archive.read(member))
                yield name, roi


def _members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The outlines of an archive; their declared sizes bound what reading them can take.

    Those packed as well: so much is asked of the file at once.
    """
    members = [m for m in archive.infolist() if m.filename.lower().endswith(".roi")]
    if not members:
        raise InputError(
            f"{path} holds no outlines of ImageJ (.roi); an export of CVAT must be unpacked"
        )
    largest, total = max(m.file_size for m in members), sum(m.file_size for m in members)
    packed = max(m.compress_size for m in members)
    too_much = largest > _MAX_ROI_BYTES or total > _MAX_BYTES or packed > file_bytes(path)
    if len(members) > _MAX_ROIS or too_much:
        raise InputError(
            f"{path} claims {len(members)} outlines of {total} bytes, which no annotation needs; "
            "it is damaged, or made to fill the memory"
        )
    return members


def _position(roi: ImagejRoi) -> int:
    """The slice from 1; 0 for all. A stack of slices may be a series in time to ImageJ."""
    return int(roi.position or max(roi.z_position, roi.t_position))


def _refuse_several_slices(path: Path, rois: list[tuple[str, ImagejRoi]]) -> None:
    found = sorted({_position(roi) for _, roi in rois} - {0})
    if len(found) > 1:
        raise InputError(
            f"{path} bears the name of one image but its outlines lie on {len(found)} slices "
            f"({found[0]}, {found[1]}, ...); save those of one slice, or name the file RoiSet.zip "
            "to have them told apart by slice"
        )


def _patch(roi: ImagejRoi, size: Size) -> Patch:
    box = (roi.left, roi.top, roi.right, roi.bottom)
    if roi.subtype in _DRAWINGS or roi.roitype not in (*_OUTLINES, ROI_TYPE.OVAL, ROI_TYPE.RECT):
        what = roi.subtype if roi.subtype in _DRAWINGS else roi.roitype
        raise InputError(f"it is of type {what.name.lower()}, which encloses nothing; delete it")
    if roi.options & ROI_OPTIONS.SPLINE_FIT:
        raise InputError("it is a fitted spline; apply Edit > Selection > Interpolate first")
    if roi.composite or roi.roitype in _OUTLINES:
        patch = _filled(roi, size)
    else:
        patch = _boxed(roi, box, size)
    if not patch.inside.size:
        raise InputError(
            f"it lies outside the image of {size[1]} x {size[0]} pixels (x {box[0]} to {box[2]}, y "
            f"{box[1]} to {box[3]}); delete it, or move it to the image that it belongs to"
        )
    return patch


def _filled(roi: ImagejRoi, size: Size) -> Patch:
    try:
        with np.errstate(invalid="ignore"):  # what is not a number is refused below
            rings = [np.asarray(r, np.float64) for r in roi.coordinates(multi=True) if len(r)]
    except (ArithmeticError, IndexError, RuntimeError, ValueError):  # what roifile raises for paths
        raise InputError(
            "its path is curved or damaged; in ImageJ, Edit > Selection > Interpolate makes it one "
            "of straight edges"
        ) from None
    if not rings or not all(np.isfinite(ring).all() for ring in rings):
        raise InputError("it has no corners, or some that are not numbers")
    return fill(rings, size)


def _boxed(roi: ImagejRoi, box: Box, size: Size) -> Patch:
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InputError("it has no area")
    if roi.roitype == ROI_TYPE.OVAL:
        return oval(box, size)
    if roi.rounded_rect_arc_size:
        raise InputError("it is a rectangle with round corners, which is not supported")
    return rectangle(box, size)
