"""Scores of predicted labels against annotated ones, from counts of pixels.

For one material, with TP, FP, FN and TN counted over pixels, one material against the rest:

    accuracy  = (TP + TN) / (TP + FP + FN + TN)      precision = TP / (TP + FP)
    recall    = TP / (TP + FN)                       f1        = TP / (TP + (FP + FN) / 2)
    iou       = TP / (TP + FP + FN)

A score whose denominator is 0 is NaN: a material that is neither annotated nor predicted was
neither right nor wrong. Means leave NaN out. (The reference adds 1e-9 to each count instead,
which gives such a material an accuracy of 1 and an F1 of 0.5.)
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "MaterialScores", "confusion", "mean_without_nan"]

METRICS = ("accuracy", "precision", "recall", "f1", "iou")

Confusion = NDArray[np.int64]
"""(materials, materials + 1) counts of pixels: [annotated, predicted], the last without any."""


def confusion(annotated: NDArray[np.uint8], predicted: NDArray[np.uint8], count: int) -> Confusion:
    """Count pixels by annotated and predicted material, of `count` ones.

    Annotations >= `count` are left out; the prediction `count` is that of no material.
    """
    known, columns = annotated < count, count + 1
    pairs = annotated[known].astype(np.int64) * columns + predicted[known]
    return np.bincount(pairs, minlength=count * columns).reshape(count, columns)


@dataclass(frozen=True)
class MaterialScores:
    """One value a material for each of `METRICS`."""

    accuracy: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    iou: NDArray[np.float64]

    @classmethod
    def of(cls, counts: Confusion) -> Self:
        """Scores of a confusion matrix, or (..., k, k + 1) of several at once."""
        total = counts.sum((-2, -1))[..., None]
        hits = np.diagonal(counts, axis1=-2, axis2=-1)
        predicted, annotated = counts.sum(-2)[..., : counts.shape[-2]], counts.sum(-1)
        wrong = (predicted - hits) + (annotated - hits)
        return cls(
            accuracy=_ratio(total - wrong, total),
            precision=_ratio(hits, predicted),
            recall=_ratio(hits, annotated),
            f1=_ratio(hits, hits + wrong / 2),
            iou=_ratio(hits, hits + wrong),
        )

    @property
    def macro_f1(self) -> NDArray[np.float64]:
        """Mean F1 of the materials, the rare ones counting as much as the common ones."""
        return mean_without_nan(self.f1, axis=-1)


def mean_without_nan(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean over an axis of the values that are not NaN; NaN where there are none."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis), known.sum(axis))


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
