"""CVAT's "Segmentation mask 1.1": labelmap.txt, and a colour image a slice in SegmentationClass/.

A line of labelmap.txt is `label:red,green,blue:parts:actions`; lines after # are comments.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from xctvol.annotations.base import Indices, Size, check_size
from xctvol.annotations.masks import decode_values
from xctvol.annotations.names import shows_or_hole
from xctvol.errors import InputError
from xctvol.materials import MaskValue, Materials
from xctvol.sources.base import file_bytes, readable
from xctvol.sources.images import read_image

__all__ = ["LABELMAP", "SEGMENTATION", "LabelMask"]

LABELMAP = "labelmap.txt"
SEGMENTATION = "SegmentationClass"

_LINE = re.compile(r"([^:]+):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?::.*)?")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class LabelMask:
    """A mask whose colours are labels of CVAT, which name materials."""

    path: Path
    labelmap: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.labelmap)

    def read(self, size: Size, materials: Materials) -> Indices:
        mask = read_image(self.path)
        check_size(self.path, (mask.shape[0], mask.shape[1]), size)
        table, strangers = [], []
        for label, color in _labels(self.labelmap):
            index = shows_or_hole(materials, label)
            if index is None:
                strangers.append(label)
            else:
                table.append((color, index))
        try:
            return decode_values(mask, table)
        except InputError as error:
            of = f"; {', '.join(strangers)} of {LABELMAP} show no material" if strangers else ""
            raise InputError(f"{self.path}: {error}{of}") from None


def _labels(path: Path) -> list[tuple[str, MaskValue]]:
    if file_bytes(path) > _MAX_BYTES:
        raise InputError(f"{path} is too large for a list of labels")
    with readable(path):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    labels: list[tuple[str, MaskValue]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        color = tuple(map(int, found.groups()[1:])) if found else ()
        if not found or max(color) > 255:
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not label:red,green,blue:parts:actions"
            )
        labels.append((found[1].strip(), (color[0], color[1], color[2])))
    return labels
