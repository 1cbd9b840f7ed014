"""Everything that can go wrong for a reason the user can act on.

A message says what is wrong, where, why it matters and what to do. The command line turns the
class into an exit code; nothing else decides exit codes.

    XctvolError        1    the run failed
    +-- UsageError     2    the request itself makes no sense
    +-- InputError     3    an input is missing, unreadable or contradicts itself
    +-- PlanError      1    the plan was refused before anything was written
    +-- PartialError   4    stopped half-way; what is finished is kept, run again to continue
        +-- StoppedError    a signal asked to stop (4, or 130 after Ctrl-C)
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = [
    "InputError",
    "PartialError",
    "PlanError",
    "StoppedError",
    "UsageError",
    "XctvolError",
    "shortened",
]


T = TypeVar("T")

_BEGINNING, _END = 900, 300  # characters of a message; what a file claims can be of any length


def shortened(items: Sequence[T], say: Callable[[T], str] = str, most: int = 8) -> str:
    """A list for a message: what to `say` of the first items, and how many more there are.

    >>> shortened([1, 2, 3], most=2)
    '1, 2 and 1 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(say, items[:most])) + more


class XctvolError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        text = " ".join(super().__str__().splitlines())  # names of files may break lines
        if len(text) <= _BEGINNING + _END:
            return text
        return f"{text[:_BEGINNING]} [...] {text[-_END:]}"


class UsageError(XctvolError):
    """The request makes no sense, whatever the files contain."""

    exit_code = 2


class InputError(XctvolError):
    """An input is missing, unreadable, or contradicts itself or another input."""

    exit_code = 3


class PlanError(XctvolError):
    """The plan cannot be carried out here (memory, disk, existing product); nothing is written."""


class PartialError(XctvolError):
    """The run stopped half-way; finished blocks are kept and the same command continues."""

    exit_code = 4


class StoppedError(PartialError):
    """A signal asked to stop; `exit_code` is 130 where somebody pressed Ctrl-C."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(
            f"stopped by {signal_name}; what is finished is kept, run the same command to continue"
        )
        if signal_name == "SIGINT":
            self.exit_code = 130
