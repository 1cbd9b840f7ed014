"""From what people type (a folder, a pattern, a file, a list) to the source it means."""

import glob
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from xctvol.errors import InputError, UsageError
from xctvol.locations import refuse_remote
from xctvol.sources import pgm
from xctvol.sources.base import Source, readable
from xctvol.sources.flat import open_npy
from xctvol.sources.kinds import Kind, kind_of, may_hold_pixels
from xctvol.sources.raw import RawLayout, open_raw
from xctvol.sources.stack import open_stack
from xctvol.sources.zarr_folder import is_zarr, open_zarr
from xctvol.units import Spacing

__all__ = ["open_source"]

_PHANTOM = "phantom:"
_THREADS = 8  # looking into files waits for the file system, not for the processor


def open_source(
    where: str | Path | Sequence[str | Path],
    *,
    spacing: Spacing | None = None,
    allow_gaps: bool = False,
    dataset: str | None = None,
    raw: RawLayout | None = None,
) -> Source:
    """Open a scan: only headers are read, and what contradicts itself is refused.

    `where` is a folder of slices (images or DICOM), a pattern ('leaf/*.tif'), a list of slice
    files, one file (TIFF with pages, a single image, HDF5, NRRD, MetaImage, NIfTI, .npy, raw), a
    zarr folder, or a phantom ('phantom:96x320x320?seed=0', sizes z, y, x). In folders and
    patterns, files that hold no pixels are passed over.

    `spacing` overrules what the files say of the voxel size; `allow_gaps` accepts numbers missing
    in the names of slices; `dataset` names the part of an HDF5 file or zarr folder that is the
    scan; `raw` says what a file without header holds, whose name need not say it then.

    Raises InputError for anything missing, unreadable, incomplete, mixed or in colour. Images with
    a palette come as the numbers of their colours, which are labels at best: `convert` refuses
    them.
    """
    _refuse_remote(where)
    if isinstance(where, str) and where.startswith(_PHANTOM):
        from xctvol.sources.phantom import parse_phantom

        return parse_phantom(where.removeprefix(_PHANTOM), spacing)
    if raw is not None:
        return open_raw(_single(where), spacing, raw)
    if isinstance(where, str | Path) and is_zarr(Path(where).expanduser()):
        return open_zarr(Path(where).expanduser(), dataset, spacing)
    kind, files = _one_kind(*_found(where))
    if dataset is not None and kind is not Kind.HDF5:
        raise UsageError(f"{files[0]} is {kind.value}: only HDF5 and zarr have a dataset to name")
    if kind.is_image:
        return _open_images(kind, files, spacing, allow_gaps=allow_gaps)
    if kind is Kind.DICOM:
        return _itk().open_series(files, spacing)
    if len(files) > 1:
        raise InputError(
            f"{files[0].parent} holds {len(files)} {kind.value} files ({files[0].name}, "
            f"{files[1].name} ...); a scan is one of them: name it"
        )
    return _open_volume(kind, files[0], spacing, dataset)


def _open_volume(kind: Kind, path: Path, spacing: Spacing | None, dataset: str | None) -> Source:
    """Open a file of a kind that holds a whole scan."""
    if kind is Kind.HDF5:
        from xctvol.sources.hdf5 import open_hdf5

        return open_hdf5(path, dataset, spacing)
    if kind is Kind.NPY:
        return open_npy(path, spacing)
    if kind is Kind.RAW:
        return open_raw(path, spacing)
    return _itk().open_image(kind, path, spacing)


def _refuse_remote(where: str | Path | Sequence[str | Path]) -> None:
    for place in [where] if isinstance(where, str | Path) else where:
        refuse_remote(place, "the files of a scan")


def _itk() -> ModuleType:
    """The formats that SimpleITK reads, which not every installation has."""
    try:
        from xctvol.sources import itk
    except ModuleNotFoundError as error:
        if error.name != "SimpleITK":
            raise
        raise InputError(
            "DICOM, NRRD, MetaImage and NIfTI are read by SimpleITK, which is not installed: "
            "pip install 'xctvol[dicom]'"
        ) from None
    return itk


def _single(where: str | Path | Sequence[str | Path]) -> Path:
    if not isinstance(where, str | Path):
        raise UsageError("the layout of a raw file describes one file, not a list of files")
    return Path(where).expanduser()


def _open_images(
    kind: Kind, files: list[Path], spacing: Spacing | None, *, allow_gaps: bool
) -> Source:
    if kind is Kind.PGM:
        return open_stack(files, pgm, spacing, allow_gaps=allow_gaps)
    if kind is not Kind.TIFF:
        from xctvol.sources import images

        return open_stack(files, images, spacing, allow_gaps=allow_gaps)
    from xctvol.sources import tiff

    if len(files) == 1:
        return tiff.open_pages(files[0], spacing)
    return open_stack(files, tiff, spacing, allow_gaps=allow_gaps)


def _found(where: str | Path | Sequence[str | Path]) -> tuple[str, dict[Path, Kind]]:
    """What `where` is called in messages, and the files in it that hold pixels."""
    if not isinstance(where, str | Path):
        return "the list of files", _kinds([Path(path).expanduser() for path in where], named=True)
    path = Path(where).expanduser()
    if path.is_dir():
        with readable(path):
            inside = [p for p in path.iterdir() if p.name[0] != "." and may_hold_pixels(p)]
        return str(where), _kinds(inside, named=False)
    if path.exists() or not glob.has_magic(str(path)):
        return str(where), _kinds([path], named=True)
    # Path.glob takes no absolute patterns
    matches = [Path(m) for m in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    if not matches:
        raise InputError(f"no file is called like {where}")
    return str(where), _kinds([p for p in matches if may_hold_pixels(p)], named=False)


def _kinds(files: list[Path], *, named: bool) -> dict[Path, Kind]:
    """Kind of each file; one that holds no pixels is refused if named, else passed over."""
    with ThreadPoolExecutor(_THREADS) as pool:
        kinds = dict(zip(files, pool.map(kind_of, files), strict=True))
    for path, kind in kinds.items():
        if named and kind is None:
            raise InputError(
                f"{path} holds no pixels that can be read; a scan is a stack of slices (TIFF, PNG, "
                "BMP, JPEG, PGM, DICOM), or one file (TIFF with pages, HDF5, NRRD, MetaImage, "
                "NIfTI, .npy, .raw), or a zarr folder"
            )
    return {path: kind for path, kind in kinds.items() if kind is not None}


def _one_kind(where: str, found: dict[Path, Kind]) -> tuple[Kind, list[Path]]:
    """The only kind of image found, or else the only kind of other file, and its files."""
    images = {path: kind for path, kind in found.items() if kind.is_image}
    by_kind: dict[Kind, list[Path]] = {}
    for path, kind in sorted((images or found).items()):
        by_kind.setdefault(kind, []).append(path)
    if not by_kind:
        raise InputError(f"{where} holds no TIFF or PNG slices nor any other scan that can be read")
    if len(by_kind) > 1:
        counts = ", ".join(f"{len(paths)} {kind.value}" for kind, paths in by_kind.items())
        raise InputError(
            f"{where} holds files of several kinds ({counts}), so which ones are the scan is "
            "unknown; choose by a pattern, as in 'leaf/*.tif'"
        )
    return next(iter(by_kind.items()))
