"""Lengths, voxel sizes, byte counts and durations, as users write and read them."""

import math
import re
from dataclasses import dataclass
from typing import Self

from xctvol.errors import UsageError

__all__ = [
    "Spacing",
    "format_bytes",
    "format_duration",
    "micrometres_per",
    "parse_bytes",
    "parse_spacing",
]

_MICROMETRES = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "um": 1.0,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
}
_SMALLEST_UM, _LARGEST_UM = 1e-6, 1e6  # of a voxel; anything else is a slip
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Spacing:
    """Voxel size along z, y and x, in micrometres."""

    z: float
    y: float
    x: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(s) and s > 0 for s in (self.z, self.y, self.x)):
            raise UsageError(
                f"voxel size {self.z:g}, {self.y:g}, {self.x:g} um is not possible: "
                "each axis needs a positive number"
            )

    @classmethod
    def of(cls, values: tuple[float, float, float], unit: str) -> Self:
        """Spacing from (z, y, x) numbers in `unit`; raises UsageError for an unknown unit."""
        factor = micrometres_per(unit)
        z, y, x = (float(v) * factor for v in values)
        return cls(z, y, x)

    @property
    def zyx(self) -> tuple[float, float, float]:
        return (self.z, self.y, self.x)

    @property
    def volume(self) -> float:
        """Volume of one voxel, in cubic micrometres."""
        return self.z * self.y * self.x

    @property
    def isotropic(self) -> bool:
        return self.z == self.y == self.x

    def __str__(self) -> str:
        if self.isotropic:
            return f"{self.z:g} um"
        return f"{self.z:g} x {self.y:g} x {self.x:g} um (z, y, x)"


def micrometres_per(unit: str) -> float:
    """Micrometres in one `unit`; raises UsageError for a unit this package does not know."""
    try:
        return _MICROMETRES[unit.strip().lower()]
    except KeyError:
        raise UsageError(f"{unit!r} is not a length unit; use one of nm, um, mm, cm, m") from None


def parse_spacing(text: str) -> Spacing:
    """Read a voxel size as typed: one number for all axes or z,y,x, with a unit.

    >>> parse_spacing("0.65um")
    Spacing(z=0.65, y=0.65, x=0.65)
    >>> parse_spacing("2, 0.65, 0.65 um").z
    2.0
    """
    match = re.fullmatch(r"\s*([0-9.eE+\-,\s]+?)\s*([A-Za-zµμ]+)\s*", text)
    if match is None:
        raise UsageError(
            f"cannot read the voxel size {text!r}: write a number and a unit (0.65um), "
            "or three numbers for z,y,x (2,0.65,0.65um)"
        )
    try:
        numbers = [float(part) for part in match[1].split(",")]
    except ValueError:
        raise UsageError(f"cannot read the numbers of the voxel size {text!r}") from None
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise UsageError(
            f"the voxel size {text!r} has {len(numbers)} numbers: give one for all axes, or z,y,x"
        )
    spacing = Spacing.of((numbers[0], numbers[1], numbers[2]), match[2])
    if not all(_SMALLEST_UM <= size <= _LARGEST_UM for size in spacing.zyx):
        raise UsageError(
            f"the voxel size {text!r} is none that a scanner has (from {_SMALLEST_UM:g} to "
            f"{_LARGEST_UM:g} um): write its numbers and its unit as the scanner gives them"
        )
    return spacing


def parse_bytes(text: str) -> int:
    """Read an amount of memory as typed.

    >>> parse_bytes("8GB"), parse_bytes("2GiB")
    (8000000000, 2147483648)
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]*)?)\s*(?:([kmgt])(i?))?b?\s*", text.lower())
    if match is None:
        raise UsageError(f"cannot read the memory size {text!r}: write it as 8GB or 500MB")
    scale = (_BINARY if match[3] else _BYTES)[match[2] or ""]
    return int(float(match[1]) * scale)


def format_bytes(count: float) -> str:
    """Bytes for people, in decimal units.

    >>> format_bytes(26_214_400_000)
    '26.2 GB'
    """
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(abs(count), 1) < 1000:
            return f"{count:.1f} {unit}"
    count /= 1000
    return f"{count:.1f} TB"


def format_duration(seconds: float) -> str:
    """Seconds for people.

    >>> format_duration(4.21), format_duration(75), format_duration(7384)
    ('4.2 s', '1 min 15 s', '2 h 3 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
