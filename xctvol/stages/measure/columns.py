"""The table that everything is added up in: one row a component or region, int64 columns.

Sums are exact and on the coordinates of the whole volume, so the row of a region is that of its
parts merged. Rows of one table are those of one block, or of the volume.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BOX_HIGH",
    "BOX_LOW",
    "CELLS",
    "CROSS_MOMENTS",
    "FIRST",
    "GREY_MAX",
    "GREY_MIN",
    "GREY_SQUARES",
    "GREY_SUM",
    "MOMENTS",
    "SQUARES",
    "VALUE",
    "VOXELS",
    "WIDTH",
    "WIDTH_WITH_GREYS",
    "Rows",
    "empty_rows",
]

Rows = NDArray[np.int64]

VOXELS = 0
MOMENTS = slice(1, 4)  # sums of z, y, x
SQUARES = slice(4, 7)  # sums of zz, yy, xx
CROSS_MOMENTS = slice(7, 10)  # sums of zy, zx, yx
CELLS = slice(10, 19)  # columns of `surface.cell_table`
BOX_LOW = slice(19, 22)
BOX_HIGH = slice(22, 25)  # half open
FIRST = 25  # raster index, in the volume, of the first voxel
VALUE = 26  # label value of the voxels
WIDTH = 27
GREY_SUM = 27
GREY_SQUARES = 28  # modulo 2**64
GREY_MIN = 29
GREY_MAX = 30
WIDTH_WITH_GREYS = 31

_MOST = np.iinfo(np.int64).max


def empty_rows(count: int, width: int) -> Rows:
    """Rows without voxels: merged with another row, they change nothing.

    `width` is WIDTH, or WIDTH_WITH_GREYS where grey values are measured.
    """
    rows = np.zeros((count, width), np.int64)
    rows[:, BOX_LOW] = _MOST
    rows[:, FIRST] = _MOST
    if width > WIDTH:
        rows[:, GREY_MIN], rows[:, GREY_MAX] = _MOST, -_MOST
    return rows
