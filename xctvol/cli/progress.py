"""Progress on stderr: bars on a terminal, elsewhere one plain line every few seconds."""

import sys
import threading
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from xctvol import plan
from xctvol.units import format_duration

__all__ = ["Display", "display"]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_TO_TELL = 0.5


class Display(Protocol):
    """Listens to a plan's progress while it is entered as a context."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def __call__(self, event: plan.Progress) -> None: ...


class _Tally:
    """What is done of a stage, counted from the progress of its blocks."""

    def __init__(self, stage: plan.Stage) -> None:
        finished = stage.journal.done()
        self.stage = stage
        self.total = stage.total
        self._blocks = {b.index: stage.units(b) for b in stage.blocks if b.index in finished}
        self._before = self.done
        self._start = time.monotonic()

    def add(self, event: plan.Progress) -> None:
        self._blocks[event.block] = max(event.done, self._blocks.get(event.block, 0))

    @property
    def done(self) -> int:
        return sum(self._blocks.values())

    @property
    def rate(self) -> float:
        """Units a second since this run began; 0 until there is enough to tell."""
        seconds = time.monotonic() - self._start
        return (self.done - self._before) / seconds if seconds > _SECONDS_TO_TELL else 0.0

    def line(self, note: str) -> str:
        parts = [f"{self.stage.name}: {self.done}/{self.total} {self.stage.unit}"]
        if self.rate > 0:
            left = (self.total - self.done) / self.rate
            parts += [f"{self.rate:.3g} {self.stage.unit}/s", f"{format_duration(left)} left"]
        return ", ".join([*parts, note] if note else parts)


class _Lines:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally: _Tally | None = None
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: plan.Progress) -> None:
        with self._lock:
            if self._tally is None or self._tally.stage is not event.stage:
                self._tally = _Tally(event.stage)
            self._tally.add(event)
            finished = self._tally.done >= self._tally.total
            now = time.monotonic()
            if finished or now - self._last > _SECONDS_BETWEEN_LINES:
                self._last = now
                print(self._tally.line(event.note), file=sys.stderr, flush=True)


class _Bars:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally: _Tally | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: plan.Progress) -> None:
        with self._lock:
            tally = self._tally
            if tally is None or tally.stage is not event.stage:
                tally = self._tally = _Tally(event.stage)
                self._task = self._progress.add_task(
                    tally.stage.name, total=tally.total, completed=tally.done, line=""
                )
            tally.add(event)
            unit = tally.stage.unit
            line = f"{tally.done}/{tally.total} {unit}, {tally.rate:.3g} {unit}/s {event.note}"
            self._progress.update(self._task, completed=tally.done, line=line)


class _Silence:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: plan.Progress) -> None:
        return


def display(*, quiet: bool) -> Display:
    """The display that fits where stderr goes."""
    if quiet:
        return _Silence()
    return _Bars() if sys.stderr.isatty() else _Lines()
