"""Folders of tables: every file is read again and compared with the digest in the record."""

from dataclasses import dataclass
from typing import Any

from xctvol.files import sha256
from xctvol.grid import Block, Grid
from xctvol.plan import FolderRecord

__all__ = ["CheckFile"]


@dataclass(frozen=True)
class CheckFile:
    """Reads one file of a folder: block 0 is the record itself, then come those that it names."""

    record: FolderRecord

    @property
    def blocks(self) -> Grid:
        return Grid((1 + len(self.record.files), 1, 1), (1, 1, 1))

    def __call__(self, block: Block) -> Any:
        name, fault = self.record.path.name, self._fault(block.index)
        if block.index:
            name = [*self.record.files][block.index - 1]
        return {"files": 1, "bad": [[name, fault]] if fault else []}

    def _fault(self, index: int) -> str | None:
        if index == 0:
            return None if self.record.is_whole() else "says other things than were written"
        name, then = [*self.record.files.items()][index - 1]
        try:
            now = sha256(self.record.path.with_name(name))
        except FileNotFoundError:
            return "is missing"
        return None if now == then else "has other content than was written"
