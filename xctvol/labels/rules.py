"""How the values of a foreign label stack become labels."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.materials import MAX_LABEL, UNLABELLED, Materials

__all__ = ["ByMaterials", "Keep", "LabelRule", "NonZero", "values_of"]

_MAX_LISTED = 8


class LabelRule(Protocol):
    """Turns values into labels; raises InputError for values that cannot be labels."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]: ...

    def materials(self, labels: list[int]) -> Materials:
        """The materials of a volume in which `labels` were found."""
        ...

    def to_json(self) -> Any: ...


@dataclass(frozen=True)
class Keep:
    """Values are labels already, of materials that have numbers for names."""

    source: np.dtype[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """As wide as the source; that of labels where it has 64 bits, which cannot be halved."""
        return np.dtype(np.uint8 if self._wide else f"u{self.source.itemsize}")

    @property
    def _wide(self) -> bool:
        return self.source.itemsize > 4

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        smallest, largest = int(values.min()), int(values.max())
        if smallest < UNLABELLED:
            raise InputError(f"the value {smallest} is negative; labels are 0 or more")
        if largest > MAX_LABEL:
            raise InputError(
                f"the value {largest} is too large for a label, which is 1 to {MAX_LABEL}; "
                "--materials says which values are which material, and --binarize makes all but 0 "
                "one material, whose regions measure numbers"
            )
        return values.astype(self.dtype, copy=False)

    def materials(self, labels: list[int]) -> Materials:
        if not labels:
            raise InputError(
                "every voxel is 0, so the stack has no labels; check that it is the right one, or "
                "use --binarize, which keeps it as a material without voxels"
            )
        return Materials.numbered(labels)

    def to_json(self) -> Any:
        return "as they are, of 8 bits" if self._wide else "as they are"


@dataclass(frozen=True)
class NonZero:
    """What is not zero belongs to one material, with label 1."""

    name: str
    dtype = np.dtype(np.uint8)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        return (values != 0).view(np.uint8)

    def materials(self, labels: list[int]) -> Materials:
        return Materials.from_json([{"name": self.name, "mask": 1, "label": 1}])

    def to_json(self) -> Any:
        return {"nonzero": self.name}


@dataclass(frozen=True)
class ByMaterials:
    """Mask values become the labels of their materials; other values are refused."""

    table: Materials
    dtype = np.dtype(np.uint8)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        labels = {grey[0]: m.label for m in self.table for grey in m.mask if len(grey) == 1}
        present = values_of(values)
        unknown = [int(value) for value in present if int(value) not in labels]
        if unknown:
            listed = ", ".join(
                f"{value} ({np.count_nonzero(values == value)} voxels)"
                for value in unknown[:_MAX_LISTED]
            )
            raise InputError(
                f"{len(unknown)} values belong to no material: {listed}; add them to the "
                "materials table"
            )
        lookup = np.array([labels[int(value)] for value in present], np.uint8)
        return lookup[np.searchsorted(present, values)]

    def materials(self, labels: list[int]) -> Materials:
        return self.table

    def to_json(self) -> Any:
        return self.table.to_json()


def values_of(array: NDArray[Any]) -> NDArray[Any]:
    """The distinct values of an array, in order; for 8 and 16 bits without sorting it."""
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        counts = np.bincount(array.reshape(-1), minlength=1)
        return np.flatnonzero(counts).astype(array.dtype)
    return np.unique(array)
