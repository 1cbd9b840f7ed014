"""Options that say which voxels a scan is: its place, its part, what its files do not say."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from xctvol.errors import UsageError
from xctvol.units import parse_spacing

if TYPE_CHECKING:
    from xctvol.grid import Box, Index3
    from xctvol.sources import RawLayout, Source

__all__ = ["AllowGaps", "Dataset", "Raw", "Roi", "Scan", "parse_box"]

AllowGaps = Annotated[bool, typer.Option("--allow-gaps", help="Accept missing slice numbers.")]
Dataset = Annotated[
    str | None,
    typer.Option(help="Which part of an HDF5 file or zarr folder is the scan.", metavar="NAME"),
]
Raw = Annotated[
    str | None,
    typer.Option(
        help="What a file without header holds, its shape as z, y, x: 100x200x200,uint16 or "
        "100x200x200,uint16,big.",
        metavar="SHAPE,DTYPE[,big]",
    ),
]
Roi = Annotated[
    str | None,
    typer.Option(
        help="Only these voxels; a range that is left out is all of its axis: 100:900,,200:1800.",
        metavar="Z0:Z1,Y0:Y1,X0:X1",
    ),
]


@dataclass(frozen=True)
class Scan:
    """A scan as it is typed."""

    where: str
    spacing: str | None = None
    allow_gaps: bool = False
    dataset: str | None = None
    raw: str | None = None
    roi: str | None = None

    def open(self) -> "Source":
        from xctvol.sources import crop, open_source

        source = open_source(
            self.where,
            spacing=parse_spacing(self.spacing) if self.spacing else None,
            allow_gaps=self.allow_gaps,
            dataset=self.dataset,
            raw=_raw_layout(self.raw) if self.raw else None,
        )
        return crop(source, parse_box(self.roi, source.shape)) if self.roi else source


def _raw_layout(text: str) -> "RawLayout":
    from xctvol.sources import RawLayout

    shape, _, rest = text.partition(",")
    dtype, _, order = rest.partition(",")
    sizes = re.fullmatch("x".join([r"([0-9]{1,18})"] * 3), shape)
    if sizes is None or order not in ("", "big"):
        raise UsageError(
            f"cannot read the raw layout {text!r}: write the numbers of slices, rows and columns "
            "and the type, as 100x200x200,uint16 or 100x200x200,uint16,big"
        )
    z, y, x = map(int, sizes.groups())
    return RawLayout((z, y, x), dtype, "big" if order else "little")


def parse_box(text: str, shape: "Index3") -> "Box":
    """The voxels that `--roi` means in a scan of `shape`."""
    from xctvol.grid import Box

    ranges = text.split(",")
    try:
        if len(ranges) != len(shape):
            raise ValueError
        (z0, z1), (y0, y1), (x0, x1) = (
            _range(part.strip(), length) for part, length in zip(ranges, shape, strict=True)
        )
    except ValueError:
        raise UsageError(
            f"cannot read the region {text!r}: write a range of voxels from 0 on for each of z, y "
            "and x, as 100:900,0:512,200:1800; what is left out is all: 100:900,,"
        ) from None
    return Box((z0, y0, x0), (z1, y1, x1))


def _range(text: str, length: int) -> tuple[int, int]:
    """Start and stop as typed; raises ValueError where they are not a range."""
    first, colon, last = (text or ":").partition(":")
    start, stop = int(first or 0), int(last or length)
    if not colon or not 0 <= start < stop:
        raise ValueError
    return start, stop
