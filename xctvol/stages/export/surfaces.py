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

    @property
    def nbytes(self) -> int:
        return self.corners.nbytes + self.faces.nbytes + self.normals.nbytes


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
    corners, faces, *_ = marching_cubes(padded, 0.5, allow_degenerate=False)
    del padded, _
    _smooth(corners, faces)
    placed = (((corners - 1) * spacing.zyx + origin)[:, ::-1]).astype(np.float32)
    areas = _areas(placed, faces)
    if np.einsum("ij,ij->", placed[faces[:, 0]], areas, dtype=np.float64) < 0:  # inside out
        faces, areas = faces[:, ::-1], -areas
    return Surface(placed, faces.astype(np.uint32), _normals(areas, faces, len(placed)))


def _smooth(corners: NDArray[np.float32], faces: NDArray[np.int32]) -> None:
    """Move each corner between its neighbours, there and a little more back, in place."""
    one, other = faces.ravel(), faces[:, [1, 2, 0]].ravel()  # every edge, in both directions
    count = np.bincount(one, minlength=len(corners))
    for _ in range(_ROUNDS):
        for step in (_SHRINK, _GROW):
            for axis in corners.T:
                axis += step * (np.bincount(one, axis[other], len(axis)) / count - axis)


def _areas(corners: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Of each face, the vector across it that is twice as long as it is large.

    Dotted with any of its corners, and summed, it is six times the volume inside.
    """
    first = corners[faces[:, 0]]
    areas: NDArray[np.float32] = np.cross(
        corners[faces[:, 1]] - first, corners[faces[:, 2]] - first
    )
    return areas


def _normals(
    areas: NDArray[np.float32], faces: NDArray[np.int32], corners: int
) -> NDArray[np.float32]:
    """Of each corner, the mean over its faces by their areas."""
    found = np.empty((corners, 3), np.float32)
    for axis in range(3):
        found[:, axis] = np.bincount(faces.ravel(), np.repeat(areas[:, axis], 3), corners)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, length, out=np.full_like(found, 3**-0.5), where=length > 0)
