"""Stopping on request: a signal asks, executors look before each block, and nothing is lost.

SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 (a batch system, before the time is up) ask for it. From then
on no block begins. Blocks that are under way may end within a grace period; after it, or when
Ctrl-C is pressed again, they are dropped: StoppedError is raised in the main thread, wherever that
is. A block that was dropped is done again by the next run.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from xctvol.errors import StoppedError, UsageError

__all__ = ["GRACE_VARIABLE", "check", "overdue", "requested", "stopping_on_signals"]

GRACE_VARIABLE = "XCTVOL_GRACE_S"
_GRACE_S = 20.0  # batch systems kill 30 seconds after SIGTERM, by default
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass
class _Request:
    """The signal that asked this process to stop, and whether the grace period is over."""

    number: signal.Signals | None = None
    overdue: bool = False


_request = _Request()  # signals belong to the process, and so does what they ask for


def requested() -> signal.Signals | None:
    """The signal that asked this process to stop, if one did."""
    return _request.number


def overdue() -> bool:
    """Whether blocks under way are to be dropped."""
    return _request.overdue


def check() -> None:
    """Raise StoppedError where this process was asked to stop."""
    if _request.number is not None:
        raise StoppedError(_request.number.name)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """While active, signals ask to stop instead of ending this process; for the main thread.

    The grace period is 20 seconds; after SIGUSR1 as many as XCTVOL_GRACE_S says.
    """
    warning_s = _warning_s()
    _request.number, _request.overdue = None, False

    def ask(number: int, _: FrameType | None) -> None:
        if _request.number is None:
            _request.number = signal.Signals(number)
            warned = number == signal.SIGUSR1
            signal.setitimer(signal.ITIMER_REAL, warning_s if warned else _GRACE_S)
        elif number == signal.SIGINT:
            drop(number, None)

    def drop(_number: int, _: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _request.overdue = True
        check()

    handlers: dict[signal.Signals, Any] = dict.fromkeys(_SIGNALS, ask)
    handlers[signal.SIGALRM] = drop
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _warning_s() -> float:
    text = os.environ.get(GRACE_VARIABLE)
    if text is None:
        return _GRACE_S
    try:
        return max(0.001, float(text))  # a timer of 0 never fires
    except ValueError:
        raise UsageError(f"{GRACE_VARIABLE} is {text!r}; give it a number of seconds") from None
