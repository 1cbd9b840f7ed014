"""Boundary F1: whether materials end where they should, however large they are.

A boundary pixel of a material has it, and one of its four neighbours has another one; pixels
without annotation, and what lies outside the image, are no neighbours. With a tolerance of 2 px,
precision is the share of predicted boundary pixels within 2 px of an annotated one, recall the
reverse, and boundary F1 their harmonic mean (Csurka et al. 2013, "What is a good evaluation
measure for semantic segmentation?").
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE_PX", "boundary_counts", "boundary_f1"]

TOLERANCE_PX = 2

_REACH = range(-TOLERANCE_PX, TOLERANCE_PX + 1)
_DISK = [(y, x) for y in _REACH for x in _REACH if y * y + x * x <= TOLERANCE_PX**2]

Plane = NDArray[np.bool_]


def boundary_counts(
    annotated: NDArray[np.uint8], predicted: NDArray[np.uint8], count: int
) -> NDArray[np.int64]:
    """Boundary pixels of each material, (count, 4): predicted, of these near; annotated, near.

    Both arrays (y, x) hold indices of materials; annotations >= `count` are left out.
    """
    known = annotated < count
    table = np.zeros((count, 4), np.int64)
    for index in range(count):
        guess, truth = (_boundary(which == index, known) for which in (predicted, annotated))
        table[index] = [
            np.count_nonzero(part)
            for part in (guess, guess & _near(truth), truth, truth & _near(guess))
        ]
    return table


def boundary_f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of (..., 4) boundary counts; NaN where neither boundary exists, 0 where one does not."""
    guessed, right, true, found = np.moveaxis(counts.astype(np.float64), -1, 0)
    products = 2 * right * found
    sums = right * true + found * guessed
    exists = guessed + true > 0
    f1 = np.divide(products, sums, out=np.zeros(sums.shape), where=sums > 0)
    return np.where(exists, f1, np.nan)


def _boundary(material: Plane, known: Plane) -> Plane:
    inside, other = material & known, ~material & known
    touches = np.zeros(inside.shape, bool)
    touches[1:] |= other[:-1]
    touches[:-1] |= other[1:]
    touches[:, 1:] |= other[:, :-1]
    touches[:, :-1] |= other[:, 1:]
    return inside & touches


def _near(boundary: Plane) -> Plane:
    y, x = boundary.shape
    wide = np.zeros((y + 2 * TOLERANCE_PX, x + 2 * TOLERANCE_PX), bool)
    for dy, dx in _DISK:
        top, left = TOLERANCE_PX + dy, TOLERANCE_PX + dx
        wide[top : top + y, left : left + x] |= boundary
    return wide[TOLERANCE_PX : TOLERANCE_PX + y, TOLERANCE_PX : TOLERANCE_PX + x]
