"""Exporting to one file: a header, and behind it all voxels, each slab at its place."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xctvol.files import refuse_full
from xctvol.grid import Block, counted
from xctvol.journal import Journal, Recipe
from xctvol.plan import FileProduct, Plan, Stage
from xctvol.stages.export.picture import Picture
from xctvol.volume import release, reused

__all__ = ["PROCESS_BYTES", "Format", "export_stack"]

PROCESS_BYTES = 120_000_000  # interpreter and libraries
_HEADER_BYTES = 1 << 20


class Format(Protocol):
    """A file format that has all voxels one behind the other, z the slowest."""

    what: str

    def stored(self, dtype: np.dtype[Any]) -> np.dtype[Any]: ...

    def begin(self, path: Path, picture: Picture, recipe: Mapping[str, object], /) -> None: ...

    def offset(self, path: Path, /) -> int: ...

    def recipe_in(self, path: Path, /) -> Mapping[str, object] | None: ...


def export_stack(picture: Picture, format_: Format, output: Path, recipe: Recipe) -> Plan[Path]:
    """Plan to write a picture to one file. It grows beside its place, and is put there whole."""
    product = FileProduct(output, format_.what, format_.recipe_in)
    stored, draft = format_.stored(picture.dtype), product.work / output.name
    begin = Begin(picture, format_, draft, recipe)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(
            Stage("begin", begin, counted([1]), Journal(product.work / "begun"), unit="blocks"),
            Stage(
                "copy",
                CopySlab(picture, format_, draft),
                picture.blocks(),
                Journal(product.work / "slabs"),
            ),
        ),
        conclude=lambda: _put_in_place(draft, output),
        peak_memory=_peak_memory(picture, stored),
        reads=picture.nbytes,
        writes=picture.nbytes + _HEADER_BYTES,
    )


@dataclass(frozen=True)
class Begin:
    """Writes everything but the voxels. Where another run has begun, nothing it wrote is lost."""

    picture: Picture
    format: Format
    draft: Path
    recipe: Recipe

    def __call__(self, _: Block) -> None:
        with tempfile.TemporaryDirectory(dir=self.draft.parent) as folder:
            model = Path(folder) / self.draft.name
            try:
                self.format.begin(model, self.picture, self.recipe.to_json())
                self._take_over(model)
            except OSError as error:
                refuse_full(error, self.draft)
                raise

    def _take_over(self, model: Path) -> None:
        """Give the draft what lies before and behind the voxels of `model`, and its size."""
        start = self.format.offset(model)
        end = start + self.picture.nbytes
        with (
            open(model, "rb") as source,
            open(os.open(self.draft, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as draft,
        ):
            draft.write(source.read(start))
            draft.seek(source.seek(end))
            draft.write(source.read())
            draft.truncate(max(end, draft.tell()))


@dataclass(frozen=True)
class CopySlab:
    """Reads a slab and writes it where it belongs."""

    picture: Picture
    format: Format
    draft: Path

    def __call__(self, block: Block) -> None:
        box = block.write
        slab = reused("exported", box.shape, self.picture.dtype)
        self.picture.read(box, slab)
        stored = slab.astype(self.format.stored(slab.dtype), copy=False)
        plane = stored[0].nbytes
        view = stored.reshape(-1).view(np.uint8).data  # in the file's order of bytes
        try:
            with open(self.draft, "r+b", buffering=0) as file:
                file.seek(self.format.offset(self.draft) + box.start[0] * plane)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())  # before the journal says that it is there
        except OSError as error:
            refuse_full(error, self.draft)
            raise


def _put_in_place(draft: Path, output: Path) -> None:
    release()
    draft.replace(output)


def _peak_memory(picture: Picture, stored: np.dtype[Any]) -> int:
    """A slab as it was read, and once more where its bytes are in another order in the file."""
    copies = 1 if stored == picture.dtype else 2
    reading = picture.reading_bytes([block.write for block in picture.blocks()])
    return PROCESS_BYTES + copies * picture.slab_bytes + reading
