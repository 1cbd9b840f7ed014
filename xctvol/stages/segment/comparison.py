"""How far lower precision agrees with fp32, told before the scan is labelled, not after hours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.grid import Box
from xctvol.locations import Location
from xctvol.model.agreement import ENOUGH, Agreement
from xctvol.model.card import Affine
from xctvol.plan import report
from xctvol.stages.segment.device import TooLargeError, shared_device
from xctvol.stages.segment.prediction import Predicting
from xctvol.stages.segment.where import Chosen
from xctvol.volume import open_volume

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """Slices that are predicted in the precision of the run and by `exact` as well.

    Those where nothing is to be labelled are left out.
    """

    prediction: Predicting
    exact: Predicting
    scan: Location
    grey: Affine
    chosen: Chosen
    slices: tuple[int, ...]

    def agreement(self) -> Agreement:
        """Of all labels of the slices; reported, as a warning where they are too few.

        Of no labels at all where a slice does not fit into the device's memory in fp32.
        """
        total = Agreement()
        for number, place in enumerate(self.slices, 1):
            report(0, f"comparing with fp32, slice {number} of {len(self.slices)}")
            image = self._read(place)
            if len(image):
                found = self._labels(self.prediction, image)
                try:
                    exact = self._labels(self.exact, image)
                except TooLargeError as error:
                    report(0, f"WARNING: labels cannot be compared with those of fp32: {error}")
                    return Agreement()
                total += Agreement.of(found, exact)
        if total.pixels:
            report(0, _said(total))
        return total

    def _read(self, place: int) -> NDArray[Any]:
        """The slice (1, y, x), or none of it (0, y, x)."""
        array = open_volume(self.scan).levels[0]
        box = Box((place, 0, 0), (place + 1, *array.shape[1:]))
        inside = self.chosen.inside(box)
        image = np.empty(box.shape, array.dtype)
        if inside is not None and not inside.any():
            return image[:0]
        array.read_into(box, image)
        return image[self.chosen.slices(image, inside)]

    def _labels(self, prediction: Predicting, image: NDArray[Any]) -> NDArray[np.uint8]:
        out, device = np.empty(image.shape, np.uint8), shared_device(prediction.device)
        with device.turn():
            labeler, needed = prediction.open(), prediction.needed_bytes
            for _ in device.label(labeler, image, self.grey, out, needed):
                pass
        return out


def _said(agreement: Agreement) -> str:
    if agreement.enough:
        return f"{agreement} of the labels of a few slices are those of fp32"
    return (
        f"WARNING: only {agreement} of the labels, on a few slices, are those of fp32 (at least "
        f"{100 * ENOUGH:g} % are usual); stop, and use --precision fp32, where that matters"
    )
