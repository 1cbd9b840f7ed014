"""How the values of a foreign label stack become labels."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.materials import Materials

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
    """Values are labels already."""

    source: np.dtype[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"u{self.source.itemsize}")

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind == "i" and int(values.min()) < 0:
            raise InputError(f"the value {int(values.min())} is negative; labels are 0 or more")
        return values.astype(self.dtype, copy=False)

    def materials(self, labels: list[int]) -> Materials:
        return Materials.numbered(labels)

    def to_json(self) -> Any:
        return "as they are"


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
