"""Loops over the voxels of a block that describe its materials: slices and interfaces.

Arrays of values (uint8) carry one slice of low halo in z and two voxels on both sides in y and x:
core voxel (z, y, x) is at [z + 1, y + 2, x + 2]; outside the volume they are zero.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LINES", "count_faces", "count_slices", "perimeter"]

Values = NDArray[np.uint8]

LINES = 3
"""Kinds of border pixels, by the length that scikit-image gives them."""

_LENGTHS = np.array([1.0, math.sqrt(2), (1 + math.sqrt(2)) / 2])
_KIND = np.full(50, -1, np.int8)  # by the code 1 + 2 direct + 10 diagonal neighbours
_KIND[[5, 7, 15, 17, 25, 27]] = 0
_KIND[[21, 33]] = 1
_KIND[[13, 23]] = 2


def perimeter(lines: NDArray[np.int64]) -> NDArray[np.float64]:
    """Perimeter in pixels from counts of border pixels (..., LINES).

    Equal to scikit-image's `perimeter` with neighborhood 4, summed over 8-connected regions
    (Benkrid and Crookes, FPGA perimeter estimator): a region's border pixels, and the border
    pixels next to them, are those of its material, so one count serves for all regions.
    """
    return lines @ _LENGTHS


@njit(cache=True, nogil=True)
def count_slices(values: Values) -> NDArray[np.int64]:
    """Per core slice and value 0..255, int64 (slices, 256, 1 + LINES): voxels, border pixels."""
    height, width = values.shape[1], values.shape[2]
    counts = np.zeros((values.shape[0] - 1, 256, 1 + LINES), np.int64)
    border = np.zeros((height, width), np.uint8)
    for i in range(counts.shape[0]):
        image = values[i + 1]
        _mark_border(image, border)
        for y in range(2, height - 2):
            for x in range(2, width - 2):
                value = image[y, x]
                counts[i, value, 0] += 1
                if border[y, x]:
                    kind = _KIND[_code(border, value, y, x)]
                    if kind >= 0:
                        counts[i, value, 1 + kind] += 1
    return counts


@njit(cache=True, nogil=True, inline="always")
def _mark_border(image: Values, border: Values) -> None:
    """The value of each pixel that has a direct neighbour of another value, else zero."""
    for y in range(1, image.shape[0] - 1):
        for x in range(1, image.shape[1] - 1):
            value = image[y, x]
            inner = (
                image[y - 1, x] == value
                and image[y + 1, x] == value
                and image[y, x - 1] == value
                and image[y, x + 1] == value
            )
            border[y, x] = 0 if inner else value


@njit(cache=True, nogil=True, inline="always")
def _code(border: Values, value: int, y: int, x: int) -> int:
    direct = (
        (border[y - 1, x] == value)
        + (border[y + 1, x] == value)
        + (border[y, x - 1] == value)
        + (border[y, x + 1] == value)
    )
    diagonal = (
        (border[y - 1, x - 1] == value)
        + (border[y - 1, x + 1] == value)
        + (border[y + 1, x - 1] == value)
        + (border[y + 1, x + 1] == value)
    )
    return 1 + 2 * direct + 10 * diagonal


@njit(cache=True, nogil=True)
def count_faces(values: Values) -> NDArray[np.int64]:
    """Faces between voxels of different values, int64 (256, 256, 3): high, low voxel's value, axis.

    A face belongs to the block of its high voxel. Value 0 is also what lies outside the volume.
    """
    faces = np.zeros((256, 256, 3), np.int64)
    for z in range(1, values.shape[0]):
        for y in range(2, values.shape[1] - 2):
            here, above, before = values[z, y], values[z - 1, y], values[z, y - 1]
            for x in range(2, values.shape[2] - 2):
                value = here[x]
                same = (above[x] == value) & (before[x] == value) & (here[x - 1] == value)
                if not same:
                    faces[value, above[x], 0] += above[x] != value
                    faces[value, before[x], 1] += before[x] != value
                    faces[value, here[x - 1], 2] += here[x - 1] != value
    return faces
