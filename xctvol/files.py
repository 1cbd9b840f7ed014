"""Files that are either whole or absent: write beside, flush, rename."""

import errno
import fnmatch
import glob
import hashlib
import json
import mmap
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from xctvol.errors import InputError, PartialError, XctvolError
from xctvol.locations import Location, S3Path

__all__ = [
    "WORK",
    "holds_something",
    "read_json",
    "refuse_full",
    "refuse_special",
    "remove_partials",
    "remove_tree",
    "sha256",
    "staged",
    "start_flush",
    "states_below",
    "write_atomic",
    "write_json",
]

WORK = ".xctvol"  # folder of journals in a product that is a folder, while it is unfinished
_SUFFIX = ".partial"
_NUMBER = "[0-9a-f]" * 32  # of a partial, in its name
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SPECIAL = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)
_SHARED = {errno.ENOENT, errno.ENOTEMPTY}
_TRIES = 100


def staged(path: Location, folder: Location | None = None) -> AbstractContextManager[Path]:
    """Give a temporary file, whose content on success becomes that of `path`, at once.

    A reader sees the old file or the new one, never a part, and two writers of the same content
    do not disturb each other. A full disk raises PartialError and leaves nothing behind. What a
    killed writer leaves lies beside `path`, or in `folder`, on the same disk: the one to name is
    that of the writer, where others write `path` as well.
    """
    if isinstance(path, S3Path):
        return _uploaded(path)
    return _renamed(path, folder if isinstance(folder, Path) else path.parent)


@contextmanager
def _renamed(path: Path, folder: Path) -> Iterator[Path]:
    """Give a path in `folder`; on success flush it to disk and rename it into place."""
    partial = folder / f".{path.name}.{uuid.uuid4().hex}{_SUFFIX}"
    try:
        for place in (path.parent, folder):
            place.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        refuse_full(error, path)
        _refuse_unwritable(error, path, partial)
        raise
    finally:
        with suppress(OSError):  # where it could not be made it cannot be deleted
            partial.unlink(missing_ok=True)


@contextmanager
def _uploaded(path: S3Path) -> Iterator[Path]:
    """Give a path in the folder for temporary files; on success store its content in one go."""
    with tempfile.TemporaryDirectory(prefix="xctvol-") as folder:
        partial = Path(folder) / path.name
        try:
            yield partial
        except OSError as error:
            refuse_full(error, partial)
            raise
        with open(partial, "rb") as file:  # mapped, so that it takes no memory
            content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        path.write_bytes(memoryview(content))


def start_flush(file: BinaryIO, start: int, stop: int) -> None:
    """Have these bytes of a file go to disk from now on, without waiting for them.

    What `staged` flushes in the end is then mostly there: the disk is at work while more is made.
    """
    if hasattr(os, "posix_fadvise"):  # not on macOS
        # Linux begins to write what it is told to forget, and keeps it until it is written
        os.posix_fadvise(file.fileno(), start, stop - start, os.POSIX_FADV_DONTNEED)


def refuse_full(error: OSError, path: Path | str) -> None:
    """Raise PartialError where `error` says that a disk is full, or that a quota is used up."""
    if error.errno in _FULL:
        raise PartialError(
            f"the disk is full: cannot write {path}; finished blocks are kept, "
            "make room and run the same command again"
        ) from error


def _refuse_unwritable(error: OSError, path: Path, partial: Path) -> None:
    """Raise XctvolError where `error` says that nothing may be written there.

    It may be of a file that is read to be written.
    """
    named = Path(str(error.filename))
    if error.errno in _FORBIDDEN and named in (partial, path, *path.parents, *partial.parents):
        raise XctvolError(
            f"cannot write {path}: {error.strerror}; choose another folder, or have its "
            "permissions changed"
        ) from error


def write_atomic(
    path: Location, *parts: bytes | bytearray | memoryview, folder: Location | None = None
) -> None:
    """Write `parts`, one after the other, as the whole content of `path`, staged in `folder`."""
    if isinstance(path, S3Path):
        path.write_bytes(b"".join(parts))
        return
    with staged(path, folder) as partial, open(partial, "wb", buffering=0) as file:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[file.write(view) :]


def write_json(path: Location, value: Any, folder: Location | None = None) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, as JSON has none."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False).encode(), folder=folder)


def refuse_special(path: Location) -> None:
    """Raise InputError where `path` is there but no regular file: a pipe is read without end.

    What cannot even be looked at is left to whoever reads it, and says why.
    """
    if isinstance(path, S3Path):
        return
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    what = next((name for is_it, name in _SPECIAL if is_it(mode)), None)
    if what is not None:
        raise InputError(
            f"{path} is not a regular file but a {what}; put the file itself in its place"
        )


def read_json(path: Location) -> Any:
    """The JSON in `path`; raises InputError where it is missing or not JSON."""
    refuse_special(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def remove_partials(path: Location) -> None:
    """Delete what killed writers left of the file `path`, or of files below the folder `path`.

    Only call it where no other writer is at work. Folders inside that are the products of others,
    unfinished as they have a journal, are left alone. In a bucket killed writers leave nothing.
    """
    if isinstance(path, S3Path):
        return
    if not path.is_dir():
        left = list(path.parent.glob(f".{glob.escape(path.name)}.{_NUMBER}{_SUFFIX}"))
    else:
        left = []
        for folder, inside, files in os.walk(path):
            inside[:] = [name for name in inside if not Path(folder, name, WORK).exists()]
            left += [Path(folder, name) for name in _partials(files)]
    for partial in left:
        partial.unlink(missing_ok=True)


def _partials(names: list[str]) -> list[str]:
    return fnmatch.filter(names, f".*{_SUFFIX}")


def holds_something(path: Location) -> bool:
    """Whether `path` is a file, or a folder that is not empty."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def remove_tree(path: Location) -> None:
    """Delete a file or a folder with all it holds; nothing happens where there is none."""
    if isinstance(path, S3Path):
        path.remove()
    elif path.is_dir() and not path.is_symlink():
        _remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def _remove_folder(path: Path) -> None:
    """Delete a folder, which others may delete as well, or still add to, at the same moment."""
    for left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(path)
        except OSError as error:
            if error.errno not in _SHARED or not left:
                raise
        if not path.exists():
            return


def states_below(path: Location) -> dict[str, tuple[int, str]]:
    """Size of every file below a folder, and what changes when it does, by relative path."""
    if isinstance(path, S3Path):
        return {name: (nbytes, tag) for name, nbytes, tag in path.below()}
    files = ((file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file())
    return {
        str(file.relative_to(path)): (state.st_size, str(state.st_mtime_ns))
        for file, state in files
    }


def sha256(path: Path) -> str:
    """Hex digest of a file's content; raises InputError where the disk does not give it."""
    refuse_special(path)
    with open(path, "rb") as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:  # of a read, it does not say of which file
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
