"""Objects in buckets, through obstore: whole ones, parts of them, lists of them.

Credentials, region and endpoint are those of the environment (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP ...). They stay in the library;
what a server says of a failure is not passed on, as it may quote them.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from xctvol.errors import InputError, PartialError

__all__ = [
    "Stored",
    "below",
    "children",
    "delete",
    "explained",
    "read",
    "read_ranges",
    "size",
    "store",
    "write",
]

_CONNECT = timedelta(seconds=5)
_REQUEST = timedelta(minutes=5)  # for a shard of 100 MB over a slow line
_GIVE_UP = timedelta(seconds=30)
_RETRIES = 5

_NO_BUCKET = "NoSuchBucket|Error performing (list|PUT).* 404 "
_REASONS = (  # what the library's messages hold, and what that means
    (
        r"169\.254\.",  # where machines of a cloud get theirs
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        "AWS_SKIP_SIGNATURE=true for a public bucket",
    ),
    (_NO_BUCKET, "there is no such bucket"),
    (
        " 40[13] ",
        "access is refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where they are "
        "temporary, AWS_SESSION_TOKEN",
    ),
    (
        " 301 |LOCATION|AuthorizationHeaderMalformed",
        "the bucket is in another region: set AWS_REGION",
    ),
    ("BadScheme", "the endpoint is http: set AWS_ALLOW_HTTP=true if that is meant"),
    (
        "non-partial",
        "the server cannot give parts of objects (byte ranges), which reading shards takes; use "
        "another server, or copy the volume to a local folder",
    ),
    ("response body", "the server's answer broke off: try again"),
    (
        "error sending request|[Tt]imed ?[Oo]ut",
        "the server does not answer: check AWS_ENDPOINT_URL and the network",
    ),
)


class Stored(NamedTuple):
    """An object of a list: its key, its size, and a tag that changes with its content."""

    key: str
    nbytes: int
    tag: str


@cache
def store(bucket: str) -> S3Store:
    """The library's store of a bucket, one a process."""
    return S3Store(
        bucket,
        client_options={
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"),
            "connect_timeout": _CONNECT,
            "timeout": _REQUEST,
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": _GIVE_UP},
        disable_bulk_delete=True,  # which not every server knows
    )


def size(bucket: str, key: str) -> int:
    """Bytes of an object; raises FileNotFoundError where there is none."""
    with explained(bucket, key):
        return obstore.head(store(bucket), key)["size"]


def read(bucket: str, key: str) -> memoryview:
    """The whole of an object, in one request; raises FileNotFoundError where there is none."""
    with explained(bucket, key):
        return memoryview(obstore.get(store(bucket), key).bytes())


def read_ranges(
    bucket: str, key: str, starts: Sequence[int], lengths: Sequence[int]
) -> list[memoryview]:
    """Parts of an object; those near each other come in one request, others side by side."""
    with explained(bucket, key):
        parts = obstore.get_ranges(store(bucket), key, starts=starts, lengths=lengths)
        return [memoryview(part) for part in parts]


def write(bucket: str, key: str, content: bytes | memoryview) -> None:
    """Store an object, in one request: readers see the old one or the new one, never a part."""
    with explained(bucket, key, writing=True):
        obstore.put(store(bucket), key, content, use_multipart=False)


def delete(bucket: str, keys: Sequence[str]) -> None:
    """Delete objects; those that are not there do not matter."""
    if keys:
        with explained(bucket, keys[0], writing=True):
            obstore.delete(store(bucket), keys)


def below(bucket: str, key: str) -> Iterator[Stored]:
    """Every object below a prefix, page by page."""
    with explained(bucket, key):
        for page in obstore.list(store(bucket), key):
            for found in page:
                yield Stored(found["path"], found["size"], found["e_tag"] or "")


def children(bucket: str, key: str) -> list[str]:
    """Keys of what lies directly below a prefix: objects, and prefixes of others."""
    with explained(bucket, key):
        found = obstore.list_with_delimiter(store(bucket), key)
    return sorted([*found["common_prefixes"], *(each["path"] for each in found["objects"])])


@contextmanager
def explained(bucket: str, key: str, *, writing: bool = False) -> Iterator[None]:
    """Turn the library's errors into those of this package, in one line."""
    where = f"s3://{bucket}/{key}"
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and not re.search(_NO_BUCKET, str(error)):
            raise FileNotFoundError(errno.ENOENT, "no such object", where) from None
        reason = _reason(str(error))
        if not writing or re.search(_NO_BUCKET, str(error)):
            raise InputError(f"cannot reach {where}: {reason}") from None
        raise PartialError(
            f"cannot write {where}: {reason}; what is finished is kept, run the same command "
            "again to continue"
        ) from None


def _reason(text: str) -> str:
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    status = re.search(r"status code: (\d+)", text)
    return f"the server answers with status {status[1]}" if status else "the request failed"
