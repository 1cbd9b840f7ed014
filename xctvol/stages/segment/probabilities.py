"""Probabilities of all materials, and the margin, as images inside the labels' group.

They lie in `labels/NAME/probabilities`: one OME-Zarr image a material, LABEL-NAME, and `margin`;
what their values mean is said by `xctvol.model.predict.Details`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Index3
from xctvol.journal import Recipe
from xctvol.locations import Location
from xctvol.materials import Materials
from xctvol.model.card import Affine
from xctvol.model.predict import Details, Predictor
from xctvol.stages.segment.prediction import Prediction
from xctvol.units import Spacing
from xctvol.volume import Checksums, Codec, Image, halve_grey

__all__ = ["ProbabilityImages", "Recorder"]


@dataclass
class Recorder:
    """Labels slices, and keeps the details of all that it has labelled, in order."""

    predictor: Predictor
    found: list[Details] = field(default_factory=list)

    def labels_into(self, slices: NDArray[Any], grey: Affine, out: NDArray[np.uint8]) -> None:
        details = self.predictor.details(slices, grey)
        self.found.append(details)
        out[...] = details.labels


@dataclass(frozen=True)
class ProbabilityImages:
    """The images of one segmentation; slices that were not predicted hold 0."""

    folder: Location
    shape: Index3
    materials: Materials
    prediction: Prediction

    @property
    def images(self) -> tuple[Image, ...]:
        """One a material, in order, and the margin."""
        names = [f"{m.label}-{re.sub(r'[^A-Za-z0-9_-]+', '-', m.name)}" for m in self.materials]
        return tuple(
            Image(self.folder / name, self.shape, np.dtype(np.uint8), Codec("zstd"))
            for name in (*names, "margin")
        )

    @property
    def nbytes(self) -> int:
        return sum(image.nbytes for image in self.images)

    def recorder(self) -> Recorder:
        return Recorder(self.prediction.open())

    def write(
        self, z0: int, depth: int, places: NDArray[np.intp], found: Sequence[Details]
    ) -> list[list[dict[str, str]]]:
        """Write the slab at `z0`: `found` are the details of its slices `places`.

        Returns the checksums of the shards of each image, as `Image.write` does.
        """
        written = []
        for index, image in enumerate(self.images):
            slab = np.zeros((depth, *self.shape[1:]), np.uint8)
            if found:
                slab[places] = np.concatenate([_image(details, index) for details in found])
            written.append(image.write(z0, slab, halve_grey))
        return written

    def finish(
        self,
        spacing: Spacing,
        recipe: Recipe,
        slabs: Sequence[Sequence[Sequence[Mapping[str, str]]]],
    ) -> None:
        """Make images of the slabs; `slabs` holds what `write` returned of each."""
        for index, image in enumerate(self.images):
            checksums = Checksums.joined((images[index], ()) for images in slabs)
            image.finish(spacing, {}, {"recipe": recipe.to_json()}, checksums)


def _image(details: Details, index: int) -> NDArray[np.uint8]:
    """Of material `index`, or the margin after the last."""
    if index == details.probabilities.shape[1]:
        return details.margin
    image: NDArray[np.uint8] = details.probabilities[:, index]
    return image
