"""Shards that are damaged, put back by what made them, where it gives the bytes of then."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xctvol.files import write_atomic
from xctvol.grid import Block
from xctvol.locations import Location
from xctvol.volume import Checksums, shard_checksum

__all__ = ["Again", "Remake"]


class Remake(Protocol):
    """Writes the shards of a slab once more, below a folder that stands for the product's own."""

    @property
    def peak_memory(self) -> int:
        """Bytes that it holds meanwhile."""
        ...

    def __call__(self, block: Block, folder: Path, /) -> None: ...


@dataclass(frozen=True)
class Again:
    """How the shards of one image are made again; it lies at `inside` in the product."""

    remake: Remake
    inside: str

    def restore(
        self, image: Location, block: Block, bad: Iterable[str], recorded: Checksums
    ) -> None:
        """Replace the shards `bad` (LEVEL/KEY) of a slab, if they are those that were recorded.

        Another machine may label a few voxels otherwise. Then nothing is written: what is there
        beside it would not fit.
        """
        with tempfile.TemporaryDirectory(prefix="xctvol-") as folder:
            self.remake(block, Path(folder))
            for name in bad:
                level, _, key = name.partition("/")
                made = Path(folder) / self.inside / name
                then = recorded.shards[int(level)].get(key)
                if shard_checksum(made) != then:
                    continue
                if then is None:  # it holds only zeros, and is not stored
                    (image / name).unlink(missing_ok=True)
                else:
                    write_atomic(image / name, made.read_bytes())
