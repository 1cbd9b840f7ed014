"""The task of a segmentation: read a slab, predict its slices, write its shards."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import StoppedError, XctvolError
from xctvol.grid import Block, Box
from xctvol.locations import Location
from xctvol.materials import UNLABELLED
from xctvol.model.card import Affine
from xctvol.model.predict import Details
from xctvol.plan import Usage, report
from xctvol.resources import peak_memory, process_name
from xctvol.stages.segment.comparison import Comparison
from xctvol.stages.segment.device import Device, Labeler, shared_device
from xctvol.stages.segment.prediction import Predicting
from xctvol.stages.segment.probabilities import ProbabilityImages, Recorder
from xctvol.stages.segment.where import Chosen
from xctvol.volume import Image, halve_labels, open_volume

__all__ = ["SegmentSlab"]


@dataclass(frozen=True)
class SegmentSlab:
    """Labels one slab. In several threads at a time only one predicts, the others read or write."""

    scan: Location
    image: Image
    prediction: Predicting
    grey: Affine
    chosen: Chosen
    comparison: Comparison | None = None
    probabilities: ProbabilityImages | None = None

    def __call__(self, block: Block) -> Any:
        """What the journal keeps of the slab.

        `voxels` of each label, how many slices were `skipped`, checksums of the `shards` and, of
        images of probabilities, of the `details`; of the first slab also the `agreement` with
        exact labels, found before anything is labelled. Errors name the slices.
        """
        box = block.write
        slices = f"slices {box.start[0]} to {box.stop[0] - 1}"
        try:
            return {**self._compare(block), **self._label(box)}
        except StoppedError:  # a request, not a fault of these slices
            raise
        except XctvolError as error:
            raise type(error)(f"{slices}: {error}") from error
        except Exception as error:  # a network may be anybody's code
            error.add_note(f"with {slices} of {self.scan}")
            raise

    def _compare(self, block: Block) -> dict[str, Any]:
        if self.comparison is None or block.index:
            return {}
        agreement = self.comparison.agreement()
        return {"agreement": agreement.to_json()} if agreement.pixels else {}

    def _label(self, box: Box) -> dict[str, Any]:
        account = _Account(shared_device(self.prediction.device))
        inside = self.chosen.inside(box)
        labels = account.device.memory("labels", box.shape, np.uint8)
        places, found = np.empty(0, np.intp), list[Details]()
        if inside is None or inside.any():
            slab = self._read(box, account)
            places = self.chosen.slices(slab, inside)
            slices, labeler = _to_front(slab, places), self._labeler()
            self._predict(labeler, slices, labels, places, account)
            found = labeler.found if isinstance(labeler, Recorder) else found
        skipped = np.setdiff1d(np.arange(len(labels)), places)
        labels[skipped] = UNLABELLED
        if inside is not None:
            labels *= inside
        details = []
        if self.probabilities is not None:
            details = self.probabilities.write(box.start[0], len(labels), places, found)
        shards = self.image.write(box.start[0], labels, halve_labels)
        account.written_bytes += labels.nbytes
        report(len(labels), usage=account.usage())
        counts = {"voxels": _counted(labels), "skipped": len(skipped)}
        return {**counts, "shards": shards, "details": details}

    def _read(self, box: Box, account: "_Account") -> NDArray[Any]:
        array = open_volume(self.scan).levels[0]
        slab = account.device.memory("slab", box.shape, array.dtype)
        report(0, usage=account.usage())
        array.read_into(box, slab)
        account.read_bytes += slab.nbytes
        return slab

    def _predict(
        self,
        labeler: Labeler,
        slices: NDArray[Any],
        labels: NDArray[np.uint8],
        places: NDArray[np.intp],
        account: "_Account",
    ) -> None:
        """Fill the slices `places` of `labels` with the labels of `slices`."""
        device, front = account.device, labels[: len(slices)]
        skipped, needed = len(labels) - len(slices), self.prediction.needed_bytes
        with device.turn():
            start = time.perf_counter()
            for done in device.label(labeler, slices, self.grey, front, needed):
                account.device_s += time.perf_counter() - start
                report(skipped + done, usage=account.usage())
                start = time.perf_counter()
        _from_front(labels, places)

    def _labeler(self) -> Labeler:
        if self.probabilities is None:
            return self.prediction.open()
        return self.probabilities.recorder()


@dataclass
class _Account:
    """What a block takes."""

    device: Device
    device_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    process: str = field(default_factory=process_name)

    def usage(self) -> Usage:
        return Usage(
            self.process, self.device_s, self.read_bytes, self.written_bytes, peak_memory(),
            self.device.peak_bytes(),
        )  # fmt: skip  # in the order of its fields


def _to_front(slab: NDArray[Any], places: NDArray[np.intp]) -> NDArray[Any]:
    """The slices `places` of a slab, moved to its front: no second slab is held."""
    for front, place in enumerate(places):
        if front != place:
            slab[front] = slab[place]
    return slab[: len(places)]


def _from_front(labels: NDArray[Any], places: NDArray[np.intp]) -> None:
    """Undo `_to_front`; what lies between is left as it happens to be."""
    for front, place in reversed(list(enumerate(places))):
        if front != place:
            labels[place] = labels[front]


def _counted(labels: NDArray[np.uint8]) -> dict[str, int]:
    """Voxels of each label, as JSON wants them."""
    from xctvol.labels.counting import count_labels  # with a compiler, which no plan needs

    return {str(label): count for label, count in count_labels(labels).items()}
