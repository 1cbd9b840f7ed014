"""Sums of labels: which materials each stands for, where several reach their thresholds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from xctvol.errors import InputError
from xctvol.materials import UNLABELLED, Material, Materials

__all__ = ["overlaps", "with_overlaps"]

_UNSEEN_MASKS = 2**32 - 1  # and downwards: no mask shows overlaps


def overlaps(materials: Materials) -> dict[int, tuple[Material, ...]]:
    """The materials that each sum of labels, modulo 256, stands for; none for UNLABELLED.

    Raises InputError where two choices of materials have one sum.
    """
    found: dict[int, tuple[Material, ...]] = {UNLABELLED: ()}
    for material in materials:
        for label, parts in list(found.items()):
            total = (label + material.label) % 256
            if total in found:
                raise InputError(
                    f"labels {total} would mean {_names(found[total])} as well as "
                    f"{_names((*parts, material))}, so sums of labels cannot be read; give the "
                    "materials the labels 1, 2, 4, 8 ... or decode by threshold"
                )
            found[total] = (*parts, material)
    return found


def _names(materials: Sequence[Material]) -> str:
    return " + ".join(material.name for material in materials) or "no material"


def with_overlaps(materials: Materials, labels: Iterable[int]) -> Materials:
    """`materials`, and one more for each of `labels` that stands for several, named a + b."""
    meanings = overlaps(materials)
    several = [label for label in sorted({*labels}) if len(meanings.get(label, ())) > 1]
    return Materials((*materials, *(_overlap(label, meanings[label]) for label in several)))


def _overlap(label: int, parts: Sequence[Material]) -> Material:
    color = [sum(channel) // len(parts) for channel in zip(*(m.rgb for m in parts), strict=True)]
    return replace(
        parts[0],
        name=_names(parts),
        mask=((_UNSEEN_MASKS - label,),),
        drawn_as=(),
        label=label,
        color=f"#{bytes(color).hex()}",
    )
