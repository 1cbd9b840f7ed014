"""Exporting to a folder: a TIFF file of each slice, named after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from xctvol.errors import PlanError, UsageError
from xctvol.files import read_json, write_json
from xctvol.grid import Block, Box
from xctvol.journal import Journal, Recipe
from xctvol.plan import FolderProduct, Plan, Stage
from xctvol.stages.export.imagej import colormap, require_imagej, write_imagej
from xctvol.stages.export.picture import Picture
from xctvol.stages.export.stack import PROCESS_BYTES
from xctvol.volume import in_threads, release, reused

__all__ = ["SlicesFolder", "export_slices"]

_DIGITS = 4  # of a slice's number, at least
_HEADER_BYTES = 4096


def export_slices(
    picture: Picture, slices: Sequence[int] | None, output: Path, recipe: Recipe
) -> Plan[Path]:
    """Plan to write a file of each slice, or only of some, given by their numbers in the level."""
    require_imagej(picture.dtype)
    first, last = picture.box.start[0], picture.box.stop[0]
    wanted = tuple(range(first, last)) if slices is None else tuple(slices)
    missing = next((z for z in wanted if not first <= z < last), None)
    if missing is not None:
        raise UsageError(f"there is no slice {missing}: there are slices {first} to {last - 1}")
    names = Names(picture.path.stem, max(_DIGITS, len(str(last - 1))))
    product = SlicesFolder(output, tuple(names.of(z) for z in wanted))
    product.refuse_strangers()
    plane = picture.nbytes // picture.box.shape[0]
    held = min(picture.slab_bytes, picture.chunk_depth * plane)
    return Plan(
        recipe=recipe,
        product=product,
        stages=(
            Stage(
                "export",
                WriteSlices(picture, frozenset(wanted), product, names),
                tuple(_touched(picture, wanted)),
                Journal(product.work / "slabs"),
            ),
        ),
        conclude=lambda: _conclude(product, recipe),
        peak_memory=PROCESS_BYTES + held + picture.reading_bytes([*_read_at_once(picture)]),
        reads=len(wanted) * plane,
        writes=len(wanted) * (plane + _HEADER_BYTES),
    )


@dataclass(frozen=True)
class Names:
    """Names of the files of slices."""

    stem: str
    digits: int

    def of(self, z: int) -> str:
        return f"{self.stem}_{z:0{self.digits}d}.tif"


@dataclass(frozen=True)
class WriteSlices:
    """Writes those of the slices of a slab that are wanted."""

    picture: Picture
    wanted: frozenset[int]
    product: "SlicesFolder"
    names: Names

    def __call__(self, block: Block) -> None:
        self.product.begin()
        first, depth = self.picture.box.start[0], self.picture.chunk_depth
        there = range(first + block.write.start[0], first + block.write.stop[0])
        wanted = [z for z in there if z in self.wanted]
        for _, together in groupby(wanted, lambda z: z // depth):  # what is decoded as one
            self._write([*together])

    def _write(self, slices: Sequence[int]) -> None:
        """Read from the first to the last of these slices, and write each of them."""
        first, (_, y, x) = self.picture.box.start[0], self.picture.box.shape
        z0, z1 = slices[0] - first, slices[-1] + 1 - first
        slab = reused("exported", (z1 - z0, y, x), self.picture.dtype)
        self.picture.read(Box((z0, 0, 0), (z1, y, x)), slab)
        materials = self.picture.materials if self.picture.dtype == "uint8" else None
        colors = None if materials is None else colormap(materials)

        def write(z: int) -> None:
            path = self.product.path / self.names.of(z)
            write_imagej(path, slab[z - slices[0]], self.picture.spacing, colors)

        in_threads(write, slices)


@dataclass(frozen=True)
class SlicesFolder(FolderProduct):
    """A folder of slices as the product of a plan; other files in it are left alone."""

    wanted: tuple[str, ...]

    verb = "export"
    holds = "slices"

    @property
    def _list(self) -> Path:
        """The names of an unfinished export: what --overwrite has to delete."""
        return self.work / "names.json"

    def files(self) -> Iterator[str]:
        yield from self.wanted
        yield from {*self.written()} - {*self.wanted}

    def begin(self) -> None:
        if not self._list.exists():
            write_json(self._list, self.wanted)

    def written(self) -> list[str]:
        """Names of files of an export that is there; a damaged record names none."""
        if self.mark.exists():
            names = self.record().get("files")
        else:
            names = read_json(self._list) if self._list.exists() else None
        return [str(name) for name in names] if isinstance(names, dict | list) else []

    def refuse_strangers(self) -> None:
        """Raise PlanError for a file of a wanted name beside an export that did not write it."""
        ours = {*self.written()}
        for name in self.wanted:
            if self.mark.exists() and name not in ours and (self.path / name).exists():
                raise PlanError(
                    f"{self.path / name} exists and was not exported, so it will not be replaced; "
                    "move it away, or choose another folder"
                )

    def open(self) -> Path:
        self.whole_record()
        return self.path


def _touched(picture: Picture, wanted: Sequence[int]) -> Iterator[Block]:
    """The blocks of a picture with any of the slices."""
    first, places = picture.box.start[0], {*wanted}
    for block in picture.blocks():
        start, stop = block.write.start[0], block.write.stop[0]
        if places & {*range(first + start, first + stop)}:
            yield block


def _read_at_once(picture: Picture) -> Iterator[Box]:
    """Slices of a block that are decoded as one."""
    first, depth, (_, y, x) = picture.box.start[0], picture.chunk_depth, picture.box.shape
    for block in picture.blocks():
        start, stop = block.write.start[0], block.write.stop[0]
        while start < stop:
            end = min(stop, start + depth - (first + start) % depth)
            yield Box((start, 0, 0), (end, y, x))
            start = end


def _conclude(product: SlicesFolder, recipe: Recipe) -> None:
    release()
    product.finish({}, recipe)
