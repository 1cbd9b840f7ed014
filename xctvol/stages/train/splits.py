"""Which pairs a replicate learns from, and which it chooses its best epoch by.

Slices of one scan resemble each other, so that a split by slice flatters: only a split by scan says
how a model does on a leaf that it has not seen.
"""

from collections.abc import Sequence

import numpy as np

from xctvol.errors import InputError
from xctvol.pairs import Pair, Pairs
from xctvol.stages.train.settings import Settings

__all__ = ["describe", "require_two", "split_pairs"]


def split_pairs(
    pairs: Pairs, settings: Settings, replicate: int, rng: np.random.Generator
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from and pairs to choose by, at least one of each; each in its old order."""
    units = [pair.name if settings.split == "slice" else pair.scan for pair in pairs]
    distinct = list(dict.fromkeys(units))
    if settings.split == "leave-one-scan-out":
        chosen = {distinct[replicate % len(distinct)]}
    else:
        count = min(max(1, round(settings.validation * len(distinct))), len(distinct) - 1)
        chosen = {distinct[i] for i in rng.permutation(len(distinct))[:count]}
    learning = [pair for pair, unit in zip(pairs, units, strict=True) if unit not in chosen]
    return learning, [pair for pair, unit in zip(pairs, units, strict=True) if unit in chosen]


def require_two(pairs: Pairs, settings: Settings) -> None:
    """Raise InputError where there is nothing to split."""
    if len(pairs) < 2:
        raise InputError(
            f"{pairs.folder} holds one pair; training needs at least two, one to learn from and "
            "one to choose the best epoch by"
        )
    if settings.split != "slice" and len(pairs.scans) < 2:
        raise InputError(
            f"all {len(pairs)} pairs in {pairs.folder} are of one scan, {pairs.scans[0]}, so they "
            "cannot be split by scan; give each scan a folder of its own, or split by slice"
        )


def describe(learning: Sequence[Pair], choosing: Sequence[Pair], settings: Settings) -> str:
    """One line for people: how many slices, and of which scans where these decide."""
    first, second = (f"{len(part)}{_scans(part, settings)}" for part in (learning, choosing))
    total = len(learning) + len(choosing)
    return f"{total} pairs: {first} to learn from, {second} to choose the best epoch by"


def _scans(part: Sequence[Pair], settings: Settings) -> str:
    if settings.split == "slice":
        return ""
    return f" ({', '.join(dict.fromkeys(pair.scan for pair in part))})"
