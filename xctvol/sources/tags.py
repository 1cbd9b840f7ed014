"""Voxel sizes as files state them, and which of those statements can be believed.

Believed of TIFF: ImageJ's calibration, OME-XML, and resolution per centimetre. Not believed:
resolution per inch or without unit, which writers fill in with printing defaults. No format is
believed where voxels would be smaller or larger than those of a CT scan can be.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xctvol.errors import UsageError
from xctvol.units import Spacing, micrometres_per

__all__ = ["centimetre_spacing", "imagej_spacing", "ome_spacing", "stated_spacing"]

_SMALLEST_UM, _LARGEST_UM = 1e-3, 1e4  # 1 nm to 1 cm: no CT scan is outside
_PRINTING_DPI = (72, 96, 100, 150, 200, 300, 600, 1200)  # defaults of writers
_UM_PER_INCH = 25400

Stated = tuple[Spacing, str]
"""A voxel size and a remark on what is assumed in it, empty where all of it is stated."""


def imagej_spacing(metadata: Mapping[str, Any], per_unit: tuple[float, float]) -> Stated | None:
    """Voxel size from ImageJ's metadata and the pixels per unit along x and y."""
    if "yunit" in metadata or "zunit" in metadata:
        return None
    unit = _micrometres(str(metadata.get("unit", "")))
    if unit is None or min(per_unit) <= 0:
        return None
    z = metadata.get("spacing")
    return _believed(None if z is None else z * unit, unit / per_unit[1], unit / per_unit[0])


def ome_spacing(pixels: Mapping[str, Any]) -> Stated | None:
    """Voxel size from the attributes of OME-XML's Pixels element."""
    sizes: dict[str, float | None] = {}
    for axis in "ZYX":
        size = pixels.get(f"PhysicalSize{axis}")
        unit = _micrometres(str(pixels.get(f"PhysicalSize{axis}Unit", "um")))
        sizes[axis] = float(size) * unit if size is not None and unit is not None else None
    if sizes["Y"] is None or sizes["X"] is None:
        return None
    return _believed(sizes["Z"], sizes["Y"], sizes["X"])


def centimetre_spacing(per_centimetre: tuple[float, float]) -> Stated | None:
    """Voxel size from pixels per centimetre along x and y; printing resolutions are no sizes."""
    if min(per_centimetre) <= 0:
        return None
    x, y = (1e4 / value for value in per_centimetre)
    if any(math.isclose(x, _UM_PER_INCH / dpi, rel_tol=2e-3) for dpi in _PRINTING_DPI):
        return None
    return _believed(None, y, x)


def stated_spacing(zyx: Sequence[float], units: str | Sequence[str]) -> Spacing | None:
    """Voxel size from numbers in a unit, or one for each, or None where it cannot be one."""
    if len(zyx) != 3:
        return None
    sizes = []
    for size, unit in zip(zyx, 3 * [units] if isinstance(units, str) else units, strict=True):
        per_unit = _micrometres(unit)
        if per_unit is None:
            return None
        sizes.append(size * per_unit)
    stated = _believed(*sizes)
    return stated[0] if stated else None


def _micrometres(unit: str) -> float | None:
    try:
        return micrometres_per(unit.replace("\\u00B5", "µ"))  # ImageJ escapes the micro sign
    except UsageError:
        return None


def _believed(z: float | None, y: float, x: float) -> Stated | None:
    remark = "" if z is not None else "; slices taken to be as far apart as pixels"
    zyx = (x if z is None else z, y, x)
    if not all(_SMALLEST_UM <= size <= _LARGEST_UM for size in zyx):
        return None
    return Spacing(*zyx), remark
