"""Recipes and journals: what a product is made of, and which of its blocks are done.

A `Recipe` holds everything that determines the bytes of a product. Its digest is the key of all
progress: work done under one recipe is never taken for work of another. A `Journal` keeps one
small file a block, written only after all that the block writes is on disk, so a killed run
continues where it was and never believes in a block that is not there.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from xctvol.errors import InputError, PartialError
from xctvol.files import read_json, write_json
from xctvol.locations import Location

__all__ = ["Beginning", "Journal", "Recipe", "file_identity"]


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
            inputs, options = dict(value["inputs"]), dict(value["options"])
            recipe = cls(str(value["verb"]), inputs, options, int(value["format"]))
            _ = recipe.digest  # which numbers that JSON does not have would keep it from
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f"the record of how it was made is damaged: {error!r}") from error
        return recipe

    def differences(self, other: "Recipe") -> list[str]:
        """Names of what differs from `other`, for messages."""
        mine, theirs = (json.loads(json.dumps(r.to_json())) for r in (self, other))
        names = [key for key in ("verb", "format") if mine[key] != theirs[key]]
        for group in ("inputs", "options"):
            ours, others = mine[group], theirs[group]
            names += [k for k in sorted({*ours, *others}) if ours.get(k, ...) != others.get(k, ...)]
        return names


@dataclass(frozen=True)
class Beginning:
    """When what is unfinished was begun: `file`, the note of its recipe, bears the `mark`.

    A run that begins anew leaves another mark there, and one that finishes takes the file away.
    """

    file: Location
    mark: str | None

    def holds(self) -> bool:
        try:
            return bool(read_json(self.file).get("begun") == self.mark)
        except (InputError, AttributeError):
            return False


@dataclass(frozen=True)
class Journal:
    """The blocks of one stage that are done, one file each, with the small result of each.

    Each file holds the crc32 of its result, so that a damaged one is never believed. A run writes
    to the journal of its own `beginning` only: what it notes later would be taken for work of the
    run that began anew.
    """

    folder: Location
    beginning: Beginning | None = None

    def record(self, index: int, result: Any) -> None:
        """Note that block `index` is done; `result` is a small JSON value.

        Raises PartialError where another run has begun anew. It has to do this block again, even if
        it has done so, as the files that were written here may lie over its own.
        """
        record = {"block": index, "result": result, "crc32": _crc32(index, result)}
        if self._goes_on():
            write_json(self._file(index), record)
        if not self._goes_on():
            self._file(index).unlink(missing_ok=True)
            self.check()

    def check(self) -> None:
        """Raise PartialError where another run has begun anew, or has finished."""
        if not self._goes_on():
            raise PartialError(
                f"{self.folder.parent}: another run has begun anew with --overwrite, or has "
                "finished, while this one was at work; look with `xctvol verify` at what it made"
            )

    def _goes_on(self) -> bool:
        return self.beginning is None or self.beginning.holds()

    def is_done(self, index: int) -> bool:
        return self._file(index).is_file()

    def done(self) -> frozenset[int]:
        """Indices of the blocks that are done."""
        if not self.folder.is_dir():
            return frozenset()
        names = {path.name for path in self.folder.glob("*.json")}
        stems = (name.removesuffix(".json") for name in names)
        numbers = (int(stem) for stem in stems if stem.isascii() and stem.isdigit())
        return frozenset(number for number in numbers if self._file(number).name in names)

    def results(self) -> dict[int, Any]:
        """Result of each finished block, by index, in order; raises InputError for damaged ones."""
        return {index: self._result(index) for index in sorted(self.done())}

    def _result(self, index: int) -> Any:
        record = read_json(self._file(index))
        try:
            result = record["result"]
            whole = record["block"] == index and record["crc32"] == _crc32(index, result)
        except (KeyError, TypeError, ValueError, RecursionError):
            whole = False
        if not whole:
            raise InputError(
                f"{self._file(index)}, the note of what block {index} came to, is damaged; delete "
                "it and run the same command again, which then does that block anew"
            )
        return result

    def all_results(self, blocks: int) -> list[Any]:
        """Results of all so many blocks, in order; raises PartialError where one is missing.

        Another run of the same plan may be taking the journal away, as the product is finished.
        """
        results = self.results()
        if len(results) != blocks:
            raise PartialError(
                f"{self.folder}: blocks that were done are there no longer, another run has "
                "removed them; run the same command again"
            )
        return list(results.values())

    def _file(self, index: int) -> Location:
        return self.folder / f"{index:06d}.json"


def _crc32(index: int, result: Any) -> str:
    text = json.dumps([index, result], allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def file_identity(path: Path) -> list[Any]:
    """Name, size and modification time of a file: changes when the file does."""
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
