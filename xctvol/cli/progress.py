"""Progress on stderr: bars on a terminal, elsewhere one plain line every few seconds."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from xctvol import plan
from xctvol.units import format_bytes, format_duration

__all__ = ["Display", "Tally", "display"]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_TO_TELL = 0.5


class _View(Protocol):
    """Where progress is shown, while it is entered as a context."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def draw(self, tally: "Tally", note: str) -> None: ...


class Display:
    """Listens to a plan's progress while it is entered as a context."""

    def __init__(self, view: _View) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._tally: Tally | None = None

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._view.__exit__(kind, error, trace)

    def __call__(self, event: plan.Progress) -> None:
        with self._lock:
            if event.note.startswith("WARNING"):  # which the next note must not wipe away
                print(f"xctvol: {event.note}", file=sys.stderr, flush=True)
            if self._tally is None or self._tally.stage is not event.stage:
                self._tally = Tally(event.stage)
            self._tally.add(event)
            self._view.draw(self._tally, event.note)

    def facts(self) -> dict[str, Any]:
        """How the last stage ran, where its blocks said what they took."""
        used = self._tally.used() if self._tally else []
        return {"run": used} if used else {}


class Tally:
    """What is done of a stage, and what it took: added up from the progress of its blocks."""

    def __init__(self, stage: plan.Stage, clock: Callable[[], float] = time.monotonic) -> None:
        finished = stage.journal.done()
        self.stage = stage
        self.total = stage.total
        self._blocks = {b.index: stage.units(b) for b in stage.blocks if b.index in finished}
        self._before = self.done
        self._clock = clock
        self._start = self._last = clock()
        self._usage: dict[int, plan.Usage] = {}
        self._first: dict[str, float] = {}

    def add(self, event: plan.Progress) -> None:
        self._blocks[event.block] = max(event.done, self._blocks.get(event.block, 0))
        self._last = self._clock()
        if event.usage is not None:
            self._usage[event.block] = event.usage
            self._first.setdefault(event.usage.process, self._last)

    @property
    def done(self) -> int:
        return sum(self._blocks.values())

    @property
    def finished(self) -> bool:
        return self.done >= self.total

    @property
    def rate(self) -> float:
        """Units a second since this run began; 0 until there is enough to tell."""
        seconds = self._last - self._start
        return (self.done - self._before) / seconds if seconds > _SECONDS_TO_TELL else 0.0

    def line(self, note: str) -> str:
        parts = [f"{self.stage.name}: {self.done}/{self.total} {self.stage.unit}"]
        if self.rate > 0:
            left = (self.total - self.done) / self.rate
            parts += [f"{self.rate:.3g} {self.stage.unit}/s", f"{format_duration(left)} left"]
        return ", ".join([*parts, *self.used(), note] if note else [*parts, *self.used()])

    def used(self) -> list[str]:
        """Device, disk and memory, where the blocks tell; the shares of all processes together."""
        seconds = sum(self._last - first for first in self._first.values())
        if seconds < _SECONDS_TO_TELL:
            return []
        taken = list(self._usage.values())
        wall = self._last - min(self._first.values())
        busy = min(1.0, sum(u.device_s for u in taken) / seconds)
        reads, writes = (sum(u.read_bytes for u in taken), sum(u.written_bytes for u in taken))
        return [
            f"device {100 * busy:.0f} % busy",
            f"reads {format_bytes(reads / wall)}/s",
            f"writes {format_bytes(writes / wall)}/s",
            *_memory("memory", [(u.process, u.memory_bytes) for u in taken]),
            *_memory("on the device", [(u.process, u.device_bytes) for u in taken]),
        ]


def _memory(where: str, told: list[tuple[str, int]]) -> list[str]:
    """What processes hold together; each block tells of all of its process, as it was then."""
    peaks: dict[str, int] = {}
    for process, held in told:
        peaks[process] = max(held, peaks.get(process, 0))
    total = sum(peaks.values())
    return [f"{format_bytes(total)} {where}"] if total else []


class _Lines:
    def __init__(self) -> None:
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def draw(self, tally: Tally, note: str) -> None:
        now = time.monotonic()
        if tally.finished or now - self._last > _SECONDS_BETWEEN_LINES:
            self._last = now
            print(tally.line(note), file=sys.stderr, flush=True)


class _Bars:
    def __init__(self) -> None:
        self._tally: Tally | None = None
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

    def draw(self, tally: Tally, note: str) -> None:
        if tally is not self._tally:
            self._tally = tally
            self._task = self._progress.add_task(tally.stage.name, total=tally.total, line="")
        unit = tally.stage.unit
        parts = [f"{tally.done}/{tally.total} {unit}", f"{tally.rate:.3g} {unit}/s", *tally.used()]
        self._progress.update(self._task, completed=tally.done, line=", ".join([*parts, note]))


class _Silence:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def draw(self, _tally: Tally, _note: str) -> None:
        return


def display(*, quiet: bool) -> Display:
    """The display that fits where stderr goes."""
    if quiet:
        return Display(_Silence())
    return Display(_Bars() if sys.stderr.isatty() else _Lines())
