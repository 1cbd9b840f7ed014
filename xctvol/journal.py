"""Recipes and journals: what a product is made of, and which of its blocks are done.

A `Recipe` holds everything that determines the bytes of a product. Its digest is the key of all
progress: work done under one recipe is never taken for work of another. A `Journal` keeps one
small file a block, written only after all that the block writes is on disk, so a killed run
continues where it was and never believes in a block that is not there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from xctvol.errors import InputError
from xctvol.files import read_json, write_json

__all__ = ["Journal", "Recipe", "file_identity"]


@dataclass(frozen=True)
class Recipe:
    """What determines every byte of a product; all values are JSON values.

    `format` is the version of what the verb writes: raise it when the same inputs and options
    come to give other bytes.
    """

    verb: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    format: int = 1

    @property
    def digest(self) -> str:
        text = json.dumps(self.to_json(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "verb": self.verb,
            "format": self.format,
            "inputs": dict(self.inputs),
            "options": dict(self.options),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The recipe in a product's metadata; raises InputError where it is not one."""
        try:
            return cls(str(value["verb"]), value["inputs"], value["options"], int(value["format"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the record of how it was made is damaged: {error!r}") from error

    def differences(self, other: "Recipe") -> list[str]:
        """Names of what differs from `other`, for messages."""
        mine, theirs = (json.loads(json.dumps(r.to_json())) for r in (self, other))
        names = [key for key in ("verb", "format") if mine[key] != theirs[key]]
        for group in ("inputs", "options"):
            ours, others = mine[group], theirs[group]
            names += [k for k in sorted({*ours, *others}) if ours.get(k, ...) != others.get(k, ...)]
        return names


@dataclass(frozen=True)
class Journal:
    """The blocks of one stage that are done, one file each, with the small result of each."""

    folder: Path

    def record(self, index: int, result: Any) -> None:
        """Note that block `index` is done; `result` is a small JSON value."""
        write_json(self._file(index), {"block": index, "result": result})

    def is_done(self, index: int) -> bool:
        return self._file(index).is_file()

    def done(self) -> frozenset[int]:
        """Indices of the blocks that are done."""
        if not self.folder.is_dir():
            return frozenset()
        stems = (path.stem for path in self.folder.glob("*.json"))
        return frozenset(int(stem) for stem in stems if stem.isdigit())

    def results(self) -> dict[int, Any]:
        """Result of each finished block, by index, in order."""
        return {i: read_json(self._file(i))["result"] for i in sorted(self.done())}

    def _file(self, index: int) -> Path:
        return self.folder / f"{index:06d}.json"


def file_identity(path: Path) -> list[Any]:
    """Name, size and modification time of a file: changes when the file does."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
