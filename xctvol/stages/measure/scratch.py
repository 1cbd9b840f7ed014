"""Files that blocks leave for each other and for the tables; removed with the plan's work."""

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xctvol.files import read_json, write_atomic, write_json
from xctvol.stages.measure.block import BlockMeasures
from xctvol.stages.measure.columns import Rows
from xctvol.stages.measure.components import Plane, Planes

__all__ = ["Scratch"]


@dataclass(frozen=True)
class Scratch:
    """A folder with a few files a block, each whole or absent.

    Rows of closed regions, which may be many, have a file of their own, read where it is needed.
    """

    folder: str

    def save(self, index: int, measures: BlockMeasures, planes: Planes) -> None:
        low = {f"low_{axis}": plane for axis, plane in enumerate(planes.low)}
        high = {f"high_{axis}": plane for axis, plane in enumerate(planes.high)}
        self._write_all("planes", index, {**low, **high})
        self._write("closed", index, measures.closed)
        rest = {f.name: getattr(measures, f.name) for f in fields(measures) if f.name != "closed"}
        self._write_all("measures", index, rest)

    def measures(self, index: int) -> BlockMeasures:
        """What a block found; its closed regions stay on disk."""
        with np.load(self._file("measures", index, ".npz")) as arrays:
            rest = {name: arrays[name] for name in arrays.files}
        return BlockMeasures(**{**rest, "count": int(rest["count"])}, closed=self.closed(index))

    def closed(self, index: int) -> Rows:
        return np.load(self._file("closed", index), mmap_mode="r")

    def plane(self, index: int, side: Literal["low", "high"], axis: int) -> Plane:
        with np.load(self._file("planes", index, ".npz")) as arrays:
            plane: Plane = arrays[f"{side}_{axis}"]
        return plane

    def save_links(self, index: int, links: NDArray[np.int64]) -> None:
        self._write("links", index, links)

    def links(self, index: int) -> NDArray[np.int64]:
        return np.load(self._file("links", index))

    def save_numbers(self, index: int, numbers: NDArray[Any]) -> None:
        """The number of the region of each label of a block, 0 where it has none."""
        self._write("numbers", index, numbers)

    def numbers(self, index: int) -> NDArray[Any]:
        return np.load(self._file("numbers", index))

    def finish(self, regions: int) -> None:
        """Note that all blocks are joined, to this many regions."""
        write_json(self._joined, {"regions": regions})

    def is_joined(self) -> bool:
        return self._joined.exists()

    def regions(self) -> int:
        return int(read_json(self._joined)["regions"])

    @property
    def _joined(self) -> Path:
        return Path(self.folder) / "joined.json"

    def _write(self, kind: str, index: int, array: NDArray[Any]) -> None:
        file = io.BytesIO()  # numpy, writing by itself, does not say that a disk is full
        np.save(file, array)
        write_atomic(self._file(kind, index), file.getbuffer())

    def _write_all(self, kind: str, index: int, arrays: dict[str, Any]) -> None:
        file = io.BytesIO()
        np.savez(file, **arrays)
        write_atomic(self._file(kind, index, ".npz"), file.getbuffer())

    def _file(self, kind: str, index: int, suffix: str = ".npy") -> Path:
        return Path(self.folder) / f"{kind}-{index:06d}{suffix}"
