"""What every annotation offers, whatever format it came in."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.materials import Materials

__all__ = ["IGNORE", "Annotation", "Indices", "Size", "check_size"]

IGNORE = 255
"""Index of pixels without annotation: they neither train nor score."""

Indices = NDArray[np.uint8]
"""(y, x): the index of each pixel's material, or IGNORE."""

Size = tuple[int, int]
"""Rows and columns of a slice."""


class Annotation(Protocol):
    """What one format says about one slice. A frozen, picklable value; making it read no pixels."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide what `read` returns; the first one is named in messages."""
        ...

    def read(self, size: Size, materials: Materials) -> Indices:
        """The annotation of a slice of `size`; IGNORE where this annotation says nothing.

        Raises InputError naming the file where it does not fit the slice or the materials.
        """
        ...


def check_size(file: Path, found: Size, wanted: Size) -> None:
    """Raise InputError where an annotation was made for an image of another size."""
    if found != wanted:
        raise InputError(
            f"{file} has {_written(found)} pixels but its image has {_written(wanted)}; a mask "
            "needs the size of its image"
        )


def _written(size: Size) -> str:
    return f"{size[1]} x {size[0]}"
