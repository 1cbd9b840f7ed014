"""Files that are either whole or absent: write beside, flush, rename."""

import errno
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xctvol.errors import InputError, PartialError

__all__ = [
    "read_json",
    "remove_partials",
    "remove_tree",
    "sha256",
    "staged",
    "write_atomic",
    "write_json",
]

_SUFFIX = ".partial"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success flush it to disk and rename it into place.

    A reader sees the old file or the new one, never a part, and two writers of the same content
    do not disturb each other. A full disk raises PartialError and leaves nothing behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_SUFFIX}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise PartialError(
                f"the disk is full: cannot write {path}; finished blocks are kept, "
                "make room and run the same command again"
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, *parts: bytes | bytearray | memoryview) -> None:
    """Write `parts`, one after the other, as the whole content of `path`."""
    with staged(path) as partial, open(partial, "wb", buffering=0) as file:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[file.write(view) :]


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, as JSON has none."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False).encode())


def read_json(path: Path) -> Any:
    """The JSON in `path`; raises InputError where it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def remove_partials(path: Path) -> None:
    """Delete what killed writers left of the file `path`, or of files below the folder `path`.

    Only call it where no other writer is at work.
    """
    if path.is_dir():
        left = list(path.rglob(f".*{_SUFFIX}"))
    else:
        left = list(path.parent.glob(f".{glob.escape(path.name)}.*{_SUFFIX}"))
    for partial in left:
        partial.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Delete a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
