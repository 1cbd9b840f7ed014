"""Where products are: a path of this machine, or a place in an S3 bucket.

An `S3Path` has that part of pathlib's interface which products need, so the same code serves both.
A folder is there as long as an object lies below it; nothing creates or removes it by itself.
"""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Literal, TypeAlias

from xctvol.errors import InputError, UsageError

__all__ = ["Location", "S3Path", "local", "located", "named", "refuse_remote"]

_SCHEME = "s3://"
_COLLAPSED = "s3:/"  # what pathlib makes of it
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")


@dataclass(frozen=True)
class S3Path:
    """A place in a bucket: an object, or the prefix of several.

    Raises InputError where the server, the bucket or the credentials are wrong, PartialError
    where that shows in writing.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "S3Path":
        return S3Path(self.bucket, str(PurePosixPath(self.key) / name))

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> "S3Path":
        return S3Path(self.bucket, str(PurePosixPath(self.key).parent))

    def with_name(self, name: str) -> "S3Path":
        return S3Path(self.bucket, str(PurePosixPath(self.key).with_name(name)))

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        try:
            self.nbytes()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        return next(self.below(), None) is not None

    def nbytes(self) -> int:
        """Size of the object; raises FileNotFoundError where there is none."""
        return _s3().size(self.bucket, self.key)

    def store(self) -> Any:
        """The library's store of the bucket, for other libraries that read through it."""
        return _s3().store(self.bucket)

    def explained(self) -> AbstractContextManager[None]:
        """While it is entered, what goes wrong in reading through `store` is an InputError."""
        return _s3().explained(self.bucket, self.key)

    def iterdir(self) -> Iterator["S3Path"]:
        return (S3Path(self.bucket, key) for key in _s3().children(self.bucket, self.key))

    def glob(self, pattern: str) -> Iterator["S3Path"]:
        """What lies directly below and has a name like `pattern`."""
        assert "/" not in pattern, pattern
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def below(self) -> Iterator[tuple[str, int, str]]:
        """Relative key, size and tag of every object below; a tag changes with the content."""
        start = len(self.key) + 1
        found = _s3().below(self.bucket, self.key)
        return ((key[start:], nbytes, tag) for key, nbytes, tag in found)

    def open(self, mode: Literal["rb"], buffering: int = -1) -> io.BytesIO:
        """The whole object, fetched at once whatever `buffering` says."""
        assert mode == "rb", (mode, buffering)
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        return bytes(self.fetched())

    def fetched(self) -> memoryview:
        """The whole object, in one request and without a copy."""
        return _s3().read(self.bucket, self.key)

    def read_ranges(self, starts: list[int], lengths: list[int]) -> list[memoryview]:
        """Parts of the object, none of which goes beyond its end; fetched together."""
        return _s3().read_ranges(self.bucket, self.key, starts, lengths)

    def write_bytes(self, content: bytes | memoryview) -> None:
        """Store the object whole: a reader sees the old one or the new one, never a part."""
        _s3().write(self.bucket, self.key, content)

    def unlink(self, missing_ok: Literal[True]) -> None:
        """Delete the object; `missing_ok` as pathlib has it, for it is always so here."""
        assert missing_ok
        _s3().delete(self.bucket, [self.key])

    def remove(self) -> None:
        """Delete the object, and all below it."""
        keys = [(self / key).key for key, _, _ in self.below()]
        _s3().delete(self.bucket, [*keys, self.key])


Location: TypeAlias = Path | S3Path


def located(place: str | Location) -> Location:
    """Where `place` is: s3://bucket/key in a bucket, any other text on this machine.

    >>> str(located("s3://scans/2026/leaf.zarr/") / "zarr.json")
    's3://scans/2026/leaf.zarr/zarr.json'
    """
    if isinstance(place, S3Path):
        return place
    if isinstance(place, str) and place.startswith(_SCHEME):
        return _parsed(place.removeprefix(_SCHEME))
    if str(place).startswith(_COLLAPSED):
        raise UsageError("write a place in a bucket as text that begins with s3://, not as a Path")
    return Path(place)


def local(place: str | Path, what: str) -> Path:
    """The path at which something will be that only a folder of this machine can hold."""
    refuse_remote(place, what)
    named(Path(place), what)
    return Path(place)


def refuse_remote(place: str | Path, what: str) -> None:
    """Raise UsageError for a place on S3 of something that is only looked for on this machine."""
    if str(place).startswith(_COLLAPSED):
        raise UsageError(f"{place} is on S3, where only volumes can be: {what} must be local")


def named(place: Location, what: str) -> Location:
    """`place`, at which something will be; raises UsageError for a folder that is there anyway."""
    if place.name in ("", ".."):  # of '', '.' and '/'
        raise UsageError(
            f"'{place}' is no name for {what}, which gets a place of its own: write a name, as "
            "the last part of the path"
        )
    return place


def _parsed(text: str) -> S3Path:
    bucket, _, key = text.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket) or any(part in ("", ".", "..") for part in key.split("/")):
        # not quoted: somebody may have typed credentials into it
        raise UsageError(
            "a place in a bucket is written as s3://bucket/leaf.zarr; who you are and where the "
            "server is say the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_ENDPOINT_URL"
        )
    return S3Path(bucket, key)


def _s3() -> ModuleType:
    """The library that speaks with servers, which not every installation has."""
    try:
        from xctvol import s3
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise InputError(
            "places on S3 are reached through obstore, which is not installed: "
            "pip install 'xctvol[s3]'"
        ) from None
    return s3
