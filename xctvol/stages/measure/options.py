"""What a user may ask `measure` for."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xctvol.errors import UsageError
from xctvol.materials import Materials
from xctvol.units import Spacing

if TYPE_CHECKING:
    from xctvol.volume import Volume

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """All options of `measure`, as documented there; raises UsageError for impossible ones."""

    connectivity: Literal[6, 18, 26] = 26
    materials: tuple[str, ...] = ()
    tissue: tuple[str, ...] = ()
    min_volume_um3: float = 0.0
    intensity: "Volume | None" = None
    instances: str | None = None

    def __post_init__(self) -> None:
        if self.connectivity not in (6, 18, 26):
            raise UsageError(
                f"{self.connectivity} is not a connectivity in three dimensions: use 6 (faces), "
                "18 (faces and edges) or 26 (faces, edges and corners)"
            )
        if not (math.isfinite(self.min_volume_um3) and self.min_volume_um3 >= 0):
            raise UsageError(
                f"{self.min_volume_um3:g} um3 is no smallest volume: use a number from 0 on"
            )
        name = self.instances
        if name is not None and (not name or name.startswith(".") or "/" in name):
            raise UsageError(f"{name!r} cannot be the name of a volume: use a plain word")

    def measured(self, materials: Materials) -> Materials:
        """The materials to be measured, in the order of their table."""
        return _named(materials, self.materials, "among the materials of the labels")

    def compared(self, materials: Materials) -> tuple[str, ...]:
        """Names of the tissue's materials, of those measured."""
        return _named(materials, self.tissue, "measured, so it cannot be part of the tissue").names

    def least_voxels(self, spacing: Spacing) -> int:
        """Voxels of the smallest region that is kept."""
        least = max(1, math.ceil(self.min_volume_um3 / spacing.volume))
        enough = least > 1 and (least - 1) * spacing.volume >= self.min_volume_um3  # by rounding
        return least - 1 if enough else least

    def to_json(self) -> dict[str, Any]:
        return {
            "connectivity": self.connectivity,
            "materials": list(self.materials),
            "tissue": list(self.tissue),
            "min_volume_um3": self.min_volume_um3,
            "intensity": None if self.intensity is None else self.intensity.digest,
            "instances": self.instances,
        }


def _named(materials: Materials, names: tuple[str, ...], place: str) -> Materials:
    """The materials of these names, or all where there are no names."""
    for name in names:
        if name not in materials.names:
            known = ", ".join(materials.names)
            raise UsageError(f"{name!r} is not {place}: there are {known}")
    return Materials(tuple(m for m in materials if not names or m.name in names))
