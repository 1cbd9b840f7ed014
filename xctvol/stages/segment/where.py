"""Which voxels of a scan are to be labelled."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError, UsageError
from xctvol.grid import Box
from xctvol.labels import Labels, open_labels
from xctvol.locations import Location
from xctvol.volume import Volume, open_volume

__all__ = ["Chosen", "Where"]


@dataclass(frozen=True)
class Where:
    """The voxels to label: in `roi`, where `mask` is not 0, in slices with some grey value above
    `skip_below`. All others stay unlabelled, and slices without any of them are not predicted.

    A slice is predicted as a whole, so the labels inside are those of a run without these limits.
    `skip_below` is in grey values of the scan, before they were windowed.
    """

    roi: Box | None = None
    mask: Labels | None = None
    skip_below: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What to record: all of it that there is."""
        found: dict[str, Any] = {}
        if self.roi is not None:
            found["roi"] = [list(self.roi.start), list(self.roi.stop)]
        if self.mask is not None:
            found["mask"] = {"labels": self.mask.name, "digest": self.mask.volume.digest}
        if self.skip_below is not None:
            found["skip_below"] = self.skip_below
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any], scan: Location) -> Self:
        """What was recorded of the labels of a scan; raises InputError where a mask is gone."""
        roi, mask = value.get("roi"), value.get("mask")
        return cls(
            None if roi is None else Box(*((z, y, x) for z, y, x in roi)),
            None if mask is None else open_labels(scan, mask["labels"]),
            value.get("skip_below"),
        )

    def within(self, volume: Volume) -> "Chosen":
        """The same in stored values; raises an error for limits that leave nothing to label."""
        whole = Box.whole(volume.shape)
        if self.roi is not None and (self.roi.size == 0 or self.roi.intersect(whole) != self.roi):
            raise InputError(
                f"the region {self.roi.start} to {self.roi.stop} (z, y, x) does not lie inside the "
                f"scan, which has {volume.shape} voxels"
            )
        if self.mask is not None and self.mask.volume.shape != volume.shape:
            raise InputError(
                f"the mask {self.mask.volume.path} has {self.mask.volume.shape} voxels, the scan "
                f"{volume.shape}: they must be of the same scan"
            )
        mask = None if self.mask is None else self.mask.volume.path
        return Chosen(self.roi, mask, self._stored(volume))

    def __post_init__(self) -> None:
        if self.skip_below is not None and not math.isfinite(self.skip_below):
            raise UsageError(
                f"slices cannot be skipped below {self.skip_below}: give a grey value of the scan"
            )

    def _stored(self, volume: Volume) -> float | None:
        if self.skip_below is None or volume.window is None:
            return self.skip_below
        low, high = volume.window.low, volume.window.high
        if self.skip_below >= high:
            raise UsageError(
                f"no grey value is above {self.skip_below:g}: the scan was converted with the "
                f"window {volume.window}"
            )
        return (self.skip_below - low) * 255 / (high - low)


@dataclass(frozen=True)
class Chosen:
    """`Where`, in a form that travels: `mask` is the path of the labels, `dark` a stored value."""

    roi: Box | None = None
    mask: Location | None = None
    dark: float | None = None

    def inside(self, box: Box) -> NDArray[np.bool_] | None:
        """Which voxels of `box` lie in the region and the mask; None for all of them."""
        if self.roi is None and self.mask is None:
            return None
        inside = np.zeros(box.shape, bool)
        part = box if self.roi is None else self.roi.intersect(box)
        if part is not None:
            mask = True if self.mask is None else open_volume(self.mask).read(part) != 0
            inside[part.within(box)] = mask
        return inside

    def slices(self, slab: NDArray[Any], inside: NDArray[np.bool_] | None) -> NDArray[np.intp]:
        """Which slices of a slab have anything to label."""
        wanted = np.ones(len(slab), bool) if inside is None else inside.any(axis=(1, 2))
        if self.dark is not None:
            wanted &= np.array(
                [not slice_.max() <= self.dark for slice_ in slab]
            )  # NaN is not dark
        return np.flatnonzero(wanted)
