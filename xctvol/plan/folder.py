"""Products that are a folder of files, finished once the record of how they were made is there."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from xctvol.errors import InputError, PlanError, shortened
from xctvol.files import WORK, holds_something, read_json, remove_tree, sha256, write_json
from xctvol.formats import Kind, refuse_newer, stamp
from xctvol.journal import Recipe
from xctvol.locations import Location
from xctvol.plan.plan import read_recipe

__all__ = ["FolderProduct", "FolderRecord", "finished_folder"]

_DIGEST = "sha256"
_MARKS: Mapping[str, Kind] = {
    "measure.json": "measurements",
    "evaluate.json": "scores",
    "study.json": "study",
    "export.json": "slices",
}


@dataclass(frozen=True)
class FolderRecord:
    """VERB.json of a finished folder: what it says, and the digest of every file of the product."""

    path: Path
    kind: Kind
    says: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, kind: Kind) -> "FolderRecord":
        """Raises InputError where it is damaged, or of a newer version of this package."""
        says = read_json(path)
        if not isinstance(says, dict):
            raise InputError(
                f"{path} is not a record of {kind}; {path.stem} again with --overwrite"
            )
        refuse_newer(kind, path, says)
        return cls(path, kind, says)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of each file by its name in the folder; raises InputError where there is none."""
        files = self.says.get("files")
        if not isinstance(files, dict) or not all(map(_is_plain, files)):
            raise InputError(
                f"{self.path} does not name the files of its folder with their digests, so there "
                f"is nothing to compare them with; {self.path.stem} again with --overwrite"
            )
        return {name: str(digest) for name, digest in files.items()}

    def is_whole(self) -> bool:
        """Whether the record is, to the last number, the one that was written."""
        return self.says.get(_DIGEST) == _digest(self.says)


def finished_folder(path: Location) -> FolderRecord | None:
    """The record of a folder of measurements, scores, a study or slices; None for anything else."""
    for name, kind in _MARKS.items():
        if isinstance(path, Path) and (path / name).is_file():
            return FolderRecord.read(path / name, kind)
    return None


@dataclass(frozen=True)
class FolderProduct(ABC):
    """Files in a folder; VERB.json, an object with the recipe, is written last and marks the end.

    It holds the digests of all files, and its own. Other files in the folder are left alone. A
    subclass adds `open` of a product.
    """

    path: Path

    verb: ClassVar[str]
    holds: ClassVar[Kind]
    """What is in the folder: scores, measurements."""

    @property
    def work(self) -> Path:
        return self.path / WORK

    @property
    def mark(self) -> Path:
        return self.path / f"{self.verb}.json"

    @abstractmethod
    def files(self) -> Iterable[str]:
        """Names of all that may be part of the product, besides its mark."""

    def made_by(self) -> Recipe | None:
        # in this order: a run makes the work before anything else, and takes it away after the mark
        begun, at_work = holds_something(self.path), self.work.is_dir()
        if self.mark.exists():
            return read_recipe(self.mark, self.record().get("recipe"))
        if at_work or not begun:
            return None
        raise PlanError(
            f"{self.path} exists and holds no {self.holds} of xctvol, which will not write into "
            "it; choose another folder, or a new one"
        )

    def record(self) -> Mapping[str, Any]:
        """What the mark says; raises InputError where it is missing, damaged or newer."""
        if not self.mark.exists():
            raise InputError(f"{self.path} {self._state()}; run xctvol {self.verb}")
        return FolderRecord.read(self.mark, self.holds).says

    def whole_record(self) -> Mapping[str, Any]:
        """What the mark says; raises InputError where a file that it names is gone, too."""
        says = self.record()
        named = FolderRecord(self.mark, self.holds, says).files
        gone = [name for name in named if not (self.path / name).exists()]
        if gone:
            raise InputError(
                f"{self.path} lacks {shortened(gone)}, so it is no longer whole; xctvol "
                f"{self.verb} again with --overwrite"
            )
        return says

    def finish(self, record: Mapping[str, Any], recipe: Recipe) -> None:
        """Mark the files as finished."""
        files = {name: sha256(self.path / name) for name in self.files() if self._is_file(name)}
        says = {**stamp(self.holds), "recipe": recipe.to_json(), **record, "files": files}
        write_json(self.mark, {**says, _DIGEST: _digest(says)})

    def remove(self) -> None:
        files = tuple(self.files())  # the mark may be what names them, and may be damaged
        for name in (self.mark.name, *filter(_is_plain, files)):
            remove_tree(self.path / name)

    def _is_file(self, name: str) -> bool:
        """Volumes are folders, and have checksums of their own."""
        return (self.path / name).is_file()

    def _state(self) -> str:
        if not self.path.exists():
            return "does not exist"
        return "is unfinished" if self.work.is_dir() else f"holds no finished {self.holds}"


def _digest(says: Mapping[str, Any]) -> str:
    """Of everything that a record says, but for this digest itself."""
    rest = {key: value for key, value in says.items() if key != _DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _is_plain(name: str) -> bool:
    return name not in ("", "..") and Path(name).name == name
