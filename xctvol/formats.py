"""Formats of what stands on disk, and the one rule about them: a newer one is refused.

Every record that this package writes bears a stamp: the format of its kind, and who wrote it. Raise
the format of a kind when versions of this package that know only the last one would misread what
is written. What else decides the bytes of a product is in its recipe.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from xctvol.errors import InputError

__all__ = ["FORMATS", "Kind", "refuse_newer", "stamp"]

Kind = Literal["volume", "model", "measurements", "scores", "study", "slices", "run", "journal"]
"""`volume` is any OME-Zarr, labels too; `run` is what SLURM runs; `journal`, what is unfinished."""

FORMATS: Mapping[Kind, int] = {
    "volume": 1,
    "model": 1,
    "measurements": 1,
    "scores": 1,
    "study": 1,
    "slices": 1,
    "run": 1,
    "journal": 1,
}
_WRITER = re.compile(r"xctvol [0-9A-Za-z.+-]{1,40}")


def stamp(kind: Kind) -> dict[str, Any]:
    """What every record of that kind bears."""
    return {"format": FORMATS[kind], "written_by": _this()}


def refuse_newer(kind: Kind, where: object, record: Any) -> None:
    """Raise InputError, naming both versions, where `record` is of a format not known yet.

    `where` says whose record it is. What bears no stamp is not refused here: other programs, too,
    write volumes and weights.
    """
    found = record.get("format") if isinstance(record, Mapping) else None
    if found is None:
        return
    if type(found) is not int or found < 1:
        raise InputError(f"{where} is damaged: its format, {found!r:.40}, is no number of a format")
    if found > FORMATS[kind]:
        said = str(record.get("written_by"))
        writer = said if _WRITER.fullmatch(said) else "a newer version of xctvol"
        raise InputError(
            f"{where} was written by {writer} in format {found} of its kind ({kind}); {_this()} "
            f"knows format {FORMATS[kind]}: update xctvol to use it"
        )


@cache
def _this() -> str:
    return f"xctvol {version('xctvol')}"
