"""The mean of replicates, and where it lies with 95 % confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import stdtrit

__all__ = ["Mean"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """`value` plus or minus `margin`, of `count` replicates."""

    value: float
    margin: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Student's interval for the mean: t(n - 1) s / sqrt(n); NaN is left out.

        The margin of fewer than two values is NaN, as they say nothing of their spread.
        """
        known = np.array([value for value in values if not np.isnan(value)], np.float64)
        if not known.size:
            return cls(float("nan"), float("nan"), 0)
        if known.size == 1:
            return cls(float(known[0]), float("nan"), 1)
        t = float(stdtrit(known.size - 1, (1 + _CONFIDENCE) / 2))
        margin = t * float(known.std(ddof=1)) / known.size**0.5
        return cls(float(known.mean()), margin, int(known.size))
