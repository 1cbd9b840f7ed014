"""The order of the files of a stack: by the numbers in their names, complete, none twice."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from xctvol.errors import InputError

__all__ = ["Order", "find_order", "natural_key"]

_NUMBERS = re.compile(r"([0-9]+)")
_SHOWN = 8  # items of a list in a message


@dataclass(frozen=True)
class Order:
    """Files in slice order; consecutive names count `step` up, `missing` numbers are absent."""

    files: tuple[Path, ...]
    step: int = 1
    missing: tuple[int, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the order, beyond first and last file."""
        notes = []
        if self.step != 1:
            notes.append(f"the names count every {_ordinal(self.step)} slice")
        if self.missing:
            notes.append(f"without {len(self.missing)} missing slices: {_ranges(self.missing)}")
        return tuple(notes)


def natural_key(name: str) -> tuple[tuple[str, int], ...]:
    """Sort key by which numbers count as numbers: slice_2 comes before slice_10.

    >>> sorted(["s10.tif", "s2.tif"], key=natural_key)
    ['s2.tif', 's10.tif']
    """
    texts, numbers = _split(name)
    return tuple(zip(texts, (*numbers, -1), strict=True))


def find_order(files: Sequence[Path], *, allow_gaps: bool = False) -> Order:
    """Put the files of a stack, one slice each, in order.

    One number in the names must count the slices: the last one that varies and is never the same
    twice. Raises InputError for names that do not count, for two files with one number and, unless
    `allow_gaps`, for numbers that are missing. A constant step above one is no gap.
    """
    ordered = sorted(files, key=lambda path: (natural_key(path.name), str(path)))
    if len(ordered) < 2:
        return Order(tuple(ordered))
    counts = _counter(ordered)
    step = math.gcd(*(b - a for a, b in pairwise(counts)))
    missing = tuple(sorted(set(range(counts[0], counts[-1], step)).difference(counts)))
    if missing and not allow_gaps:
        raise InputError(
            f"{ordered[0].parent}: {len(missing)} slices are missing between {ordered[0].name} and "
            f"{ordered[-1].name}: {_ranges(missing)}; depths and volumes would be wrong; add the "
            "files, or give --allow-gaps"
        )
    return Order(tuple(ordered), step, missing)


def _counter(ordered: list[Path]) -> list[int]:
    """The number that counts the slices, file by file; strictly increasing."""
    parts = [_split(path.name) for path in ordered]
    for path, (texts, _) in zip(ordered, parts, strict=True):
        if texts != parts[0][0]:
            raise InputError(
                f"{path.parent}: {ordered[0].name} and {path.name} are named differently, so their "
                "order as slices of one scan is unknown; choose files of one scan by a pattern, "
                "as in 'leaf/*.tif'"
            )
    columns = [list(column) for column in zip(*(numbers for _, numbers in parts), strict=True)]
    varying = [column for column in columns if len(set(column)) > 1]
    counters = [c for c in varying if all(a < b for a, b in pairwise(c))]
    if counters:
        return counters[-1]
    raise InputError(_why_no_counter(ordered, parts, varying))


def _why_no_counter(
    ordered: list[Path],
    parts: list[tuple[tuple[str, ...], tuple[int, ...]]],
    varying: list[list[int]],
) -> str:
    twice = [
        f"{a.name} and {b.name}"
        for (a, (_, left)), (b, (_, right)) in pairwise(zip(ordered, parts, strict=True))
        if left == right
    ]
    if twice:
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        return f"{ordered[0].parent}: {twice[0]} have the same slice number{more}; keep one of them"
    names = f"{ordered[0].name} to {ordered[-1].name}"
    return (
        f"{ordered[0].parent}: no number in the names {names} counts the slices "
        f"({len(varying)} numbers vary, each takes a value twice or falls); choose files of one "
        "scan by a pattern, or rename them"
    )


def _split(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    parts = _NUMBERS.split(name)
    return tuple(parts[0::2]), tuple(int(number) for number in parts[1::2])


def _ranges(numbers: Sequence[int]) -> str:
    """Whole numbers for people: 3, 7-19, 40."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:_SHOWN]]
    return ", ".join(shown) + (" ..." if len(runs) > _SHOWN else "")


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else endings.get(number % 10, 'th')}"
