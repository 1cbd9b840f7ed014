"""Surfaces of materials as triangles, smoothed so that they do not show the voxels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from xctvol.units import Spacing

__all__ = ["Surface", "surface_of"]

_ROUNDS = 10
_SHRINK, _GROW = 0.5, -0.53  # Taubin's lambda and mu; the pass band ends at 1/lambda + 1/mu = 0.11


@dataclass(frozen=True)
class Surface:
    """Triangles: `corners` (n, 3) float32, x, y and z in um; `faces` (m, 3) uint32.

    Seen from outside the corners of a face are counterclockwise. `normals` (n, 3) have length 1.
    """

    corners: NDArray[np.float32]
    faces: NDArray[np.uint32]
    normals: NDArray[np.float32]


def surface_of(
    inside: NDArray[np.bool_], spacing: Spacing, origin: tuple[float, float, float]
) -> Surface | None:
    """The closed surface of the voxels (z, y, x) that are `inside`; None where there are none.

    `origin` (z, y, x) is where the centre of the first voxel is, in um. Smoothing is that of Taubin
    1995, "A signal processing approach to fair surface design", which does not shrink.
    """
    if not inside.any():
        return None
    padded = np.pad(inside, 1).astype(np.float32)  # closed where it is cut
    corners, faces, _, _ = marching_cubes(padded, 0.5, allow_degenerate=False)
    smooth = _smoothed(corners - 1, faces)
    placed = (smooth * spacing.zyx + origin)[:, ::-1]
    if _volume(placed, faces) < 0:
        faces = faces[:, ::-1]
    normals = _normals(placed, faces)
    return Surface(placed.astype(np.float32), faces.astype(np.uint32), normals.astype(np.float32))


def _smoothed(corners: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Corners in voxels, each moved between its neighbours, there and a little more back."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    one, other = pairs.T  # of a closed surface every edge comes in both directions
    count = np.bincount(one, minlength=len(corners))[:, None]
    found = corners.astype(np.float64)
    for _ in range(_ROUNDS):
        for step in (_SHRINK, _GROW):
            sums = [np.bincount(one, found[other, axis], len(found)) for axis in range(3)]
            found += step * (np.stack(sums, 1) / count - found)
    return found


def _volume(corners: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """By the divergence theorem: that of the tetrahedra to the origin, negative inside out."""
    a, b, c = (corners[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _normals(corners: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each corner, the mean over its faces by their areas."""
    a, b, c = (corners[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    sums = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), len(corners))
            for axis in range(3)
        ],
        1,
    )
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, length, out=np.full_like(sums, 3**-0.5), where=length > 0)
