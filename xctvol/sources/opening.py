"""From what people type (a folder, a pattern, a file, a list) to the source it means."""

import glob
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xctvol.errors import InputError
from xctvol.sources.base import Source, readable
from xctvol.sources.flat import open_npy, open_raw
from xctvol.sources.kinds import Kind, kind_of
from xctvol.sources.stack import open_stack
from xctvol.units import Spacing

__all__ = ["open_source"]

_PHANTOM = "phantom:"
_THREADS = 8  # looking into files waits for the file system, not for the processor


def open_source(
    where: str | Path | Sequence[str | Path],
    *,
    spacing: Spacing | None = None,
    allow_gaps: bool = False,
) -> Source:
    """Open a scan: only headers are read, and what contradicts itself is refused.

    `where` is a folder of slices, a pattern ('leaf/*.tif'), a list of slice files, one file (TIFF
    with pages, a single image, .npy, raw with its shape and dtype in the name), or a phantom
    ('phantom:96x320x320?seed=0', sizes z, y, x). In folders and patterns, files that hold no
    pixels are passed over. `spacing` overrules what the files say of the voxel size; `allow_gaps`
    accepts numbers missing in the names of slices.

    Raises InputError for anything missing, unreadable, incomplete, mixed or in colour.
    """
    if isinstance(where, str) and where.startswith(_PHANTOM):
        from xctvol.sources.phantom import parse_phantom

        return parse_phantom(where.removeprefix(_PHANTOM), spacing)
    kind, files = _one_kind(*_found(where))
    if kind.is_image:
        return _open_images(kind, files, spacing, allow_gaps=allow_gaps)
    if len(files) > 1:
        raise InputError(
            f"{files[0].parent} holds {len(files)} {kind.value} files ({files[0].name}, "
            f"{files[1].name} ...); a scan is one of them: name it"
        )
    if kind is Kind.NPY:
        return open_npy(files[0], spacing)
    if kind is Kind.RAW:
        return open_raw(files[0], spacing)
    raise InputError(f"{files[0]}: {kind.value} files are not read; export the scan as TIFF")


def _open_images(
    kind: Kind, files: list[Path], spacing: Spacing | None, *, allow_gaps: bool
) -> Source:
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
            inside = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
        return str(where), _kinds(inside, named=False)
    if path.exists() or not glob.has_magic(str(path)):
        return str(where), _kinds([path], named=True)
    # Path.glob takes no absolute patterns
    matches = [Path(m) for m in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    return str(where), _kinds([p for p in matches if p.is_file()], named=False)


def _kinds(files: list[Path], *, named: bool) -> dict[Path, Kind]:
    """Kind of each file; one that holds no pixels is refused if named, else passed over."""
    with ThreadPoolExecutor(_THREADS) as pool:
        kinds = dict(zip(files, pool.map(kind_of, files), strict=True))
    for path, kind in kinds.items():
        if named and kind is None:
            raise InputError(
                f"{path} holds no pixels that can be read; a scan is a stack of TIFF or PNG "
                "slices, a TIFF with pages, a .npy file, or a raw file"
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
