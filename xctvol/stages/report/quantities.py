"""Numbers with units, as a page shows them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Unit", "count", "length", "lengths", "scale_bar", "unit_of"]

_LENGTHS = (("µm", 1.0), ("mm", 1e3), ("m", 1e6))
_POWERS = {1: "", 2: "²", 3: "³"}
_THIN = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Unit:
    """A unit of length, area or volume; `scale` is its size in micrometres to the same power."""

    name: str
    scale: float

    def number(self, value: float) -> str:
        """A value given in micrometres, to three significant digits at least, in this unit.

        >>> Unit("mm³", 1e9).number(2.5e9)
        '2.5'
        """
        if not math.isfinite(value):
            return "\N{EN DASH}"
        value /= self.scale
        digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:,.{digits}f}".replace(",", _THIN)
        return text.rstrip("0").rstrip(".") if "." in text else text


def unit_of(values: Iterable[float], power: int) -> Unit:
    """The largest unit in which the largest value is at least one; µm for smaller ones.

    >>> unit_of([12.0, 2e6], 2)
    Unit(name='mm²', scale=1000000.0)
    """
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    units = [Unit(name + _POWERS[power], um**power) for name, um in _LENGTHS]
    return max((u for u in units if u.scale <= largest), key=lambda u: u.scale, default=units[0])


def length(um: float) -> str:
    """A length in the unit that suits it.

    >>> length(0.65).split(), length(1664).split()
    (['0.65', 'µm'], ['1.66', 'mm'])
    """
    return lengths([um])


def lengths(um: Iterable[float]) -> str:
    """Sides of a box in one unit: 1.3 by 0.65 by 0.65 µm."""
    um = tuple(um)
    unit = unit_of(um, 1)
    times = " \N{MULTIPLICATION SIGN} "
    return f"{times.join(unit.number(side) for side in um)}\N{NO-BREAK SPACE}{unit.name}"


def count(number: int) -> str:
    """A whole number in groups of three digits, parted by thin spaces."""
    return f"{number:,}".replace(",", _THIN)


def scale_bar(extent_um: float) -> float:
    """The longest round length, 1, 2 or 5 times a power of ten, within a quarter of the extent.

    >>> scale_bar(1664), scale_bar(100)
    (200.0, 20.0)
    """
    limit = extent_um / 4
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit)
