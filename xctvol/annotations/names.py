"""Which material an outline shows, by the name or the group number that people gave it."""

import re
from collections import Counter
from collections.abc import Iterable

from xctvol.annotations.base import IGNORE
from xctvol.errors import InputError, shortened
from xctvol.materials import Material, Materials

__all__ = ["refuse_unknown", "shows", "shows_or_hole"]

_HOLE = "background"  # CVAT's own name for what cuts a hole into the shapes below it


def shows(materials: Materials, name: str, group: int = 0) -> int | None:
    """Index of the material that is drawn under a name or in a group (0: none); None for none.

    The number that ImageJ adds to a name that is taken ("air-2") does not count. Raises
    InputError where two materials claim the outline.
    """
    found = [i for i, material in enumerate(materials) if _claims(material, name, group)]
    if len(found) > 1:
        claimed = " and ".join(repr(materials[i].name) for i in found[:2])
        in_group = f" of group {group}" if group else ""
        raise InputError(
            f"{name!r}{in_group} could be {claimed}; make `drawn_as` of the materials exclusive"
        )
    return found[0] if found else None


def refuse_unknown(what: str, names: Iterable[str], materials: Materials) -> None:
    """Raise InputError with the counts if there are any `names`, which no material claims."""
    counts = Counter(names).most_common()
    if not counts:
        return
    shown = shortened(counts, lambda each: f"{each[0]!r} ({each[1]})")
    raise InputError(
        f"{what} {shown} show no material; rename them, or say which material is drawn "
        f"under these names (drawn_as) in the table of {', '.join(materials.names)}"
    )


def shows_or_hole(materials: Materials, label: str) -> int | None:
    """As `shows` for a label of CVAT, but IGNORE for a hole that is no material itself."""
    index = shows(materials, label)
    return IGNORE if index is None and label == _HOLE else index


def _claims(material: Material, name: str, group: int) -> bool:
    names = material.drawn_as or (material.name,)
    bare = re.sub(r"-[0-9]+$", "", name)
    return any(
        claim == group
        if isinstance(claim, int)
        else any(_matches(claim, given) for given in (name, bare))
        for claim in names
    )


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None
