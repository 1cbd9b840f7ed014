"""The task of a segmentation: read a slab, predict its slices, write its shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xctvol.grid import Block
from xctvol.model.card import Affine
from xctvol.model.devices import Precision
from xctvol.model.predict import predictor_for
from xctvol.plan import report
from xctvol.volume import Image, halve_labels, open_volume

__all__ = ["SegmentSlab"]

_SLICES = 4  # predicted between two reports of progress


@dataclass(frozen=True)
class SegmentSlab:
    """Labels one slab; the model travels as path and digest, and is loaded once a process."""

    scan: Path
    image: Image
    model: Path
    digest: str
    device: str
    precision: Precision
    grey: Affine

    def __call__(self, block: Block) -> Any:
        """Returns the number of voxels of each label."""
        predictor = predictor_for(self.model, self.digest, self.device, self.precision)
        slab = open_volume(self.scan).read(block.read)
        labels = np.empty(slab.shape, np.uint8)
        for z in range(0, len(slab), _SLICES):
            labels[z : z + _SLICES] = predictor.labels(slab[z : z + _SLICES], self.grey)
            report(min(z + _SLICES, len(slab)))
        self.image.write(block.write.start[0], labels, halve_labels)
        counts = np.bincount(labels.reshape(-1))
        return {str(label): int(counts[label]) for label in np.flatnonzero(counts)}
