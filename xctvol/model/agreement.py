"""How far two predictions agree, on a sample of slices that is the same every time."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENOUGH", "Agreement", "sample_slices"]

ENOUGH = 0.995
"""Share of equal labels below which lower precision is worth a warning."""

_SAMPLE = 5


def sample_slices(depth: int, count: int = _SAMPLE) -> tuple[int, ...]:
    """Up to `count` slices of `depth`: the middles of as many equal parts.

    >>> sample_slices(1000)
    (100, 300, 500, 700, 900)
    >>> sample_slices(2)
    (0, 1)
    """
    parts = min(count, depth)
    return tuple((2 * part + 1) * depth // (2 * parts) for part in range(parts))


@dataclass(frozen=True)
class Agreement:
    """Of `pixels` labelled twice, `equal` got the same label."""

    equal: int = 0
    pixels: int = 0

    @classmethod
    def of(cls, labels: NDArray[Any], others: NDArray[Any]) -> Self:
        return cls(int(np.count_nonzero(labels == others)), labels.size)

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(self.equal + other.equal, self.pixels + other.pixels)

    @property
    def share(self) -> float:
        return self.equal / self.pixels

    @property
    def enough(self) -> bool:
        return self.share >= ENOUGH

    def to_json(self) -> dict[str, int]:
        return {"equal": self.equal, "pixels": self.pixels}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        return cls(int(value["equal"]), int(value["pixels"]))

    def __str__(self) -> str:
        return f"{100 * self.share:.3f} %"
