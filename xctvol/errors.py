"""Everything that can go wrong for a reason the user can act on.

A message says what is wrong, where, why it matters and what to do. The command line turns the
class into an exit code; nothing else decides exit codes.

    XctvolError        1    the run failed
    +-- UsageError     2    the request itself makes no sense
    +-- InputError     3    an input is missing, unreadable or contradicts itself
    +-- PlanError      1    the plan was refused before anything was written
    +-- PartialError   4    stopped half-way; what is finished is kept, run again to continue
"""

__all__ = ["InputError", "PartialError", "PlanError", "UsageError", "XctvolError"]


class XctvolError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


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
