"""Stages: a task over many blocks, what runs them, and what they tell meanwhile."""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from xctvol import stopping
from xctvol.grid import Block
from xctvol.journal import Journal

__all__ = [
    "Blocks",
    "Executor",
    "Listener",
    "Progress",
    "Reporter",
    "Run",
    "Stage",
    "Task",
    "Usage",
    "do_block",
    "report",
    "reporting",
    "run_block",
]

Unit = Literal["slices", "blocks", "epochs"]


class Task(Protocol):
    """A frozen dataclass of paths and numbers: picklable, comparable, printable.

    Called with a block it does the block's work, completely and repeatably, and returns a small
    JSON value for the journal.
    """

    def __call__(self, block: Block, /) -> Any: ...


class Blocks(Protocol):
    """A grid, or a sequence of blocks."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Block]: ...


@dataclass(frozen=True)
class Stage:
    """One task over many blocks. `conclude` runs once all of them are done.

    `slots` is how many blocks one worker should have under way, each in a thread of its own: with
    several, one is read and another written while a third is on the device. `threads` is how many
    processors a worker should have, as its task shares out a block among them.
    """

    name: str
    task: Task
    blocks: Blocks
    journal: Journal
    unit: Unit = "slices"
    conclude: Callable[[], None] | None = None
    slots: int = 1
    threads: int = 1

    def pending(self) -> list[Block]:
        done = self.journal.done()
        return [block for block in self.blocks if block.index not in done]

    def units(self, block: Block) -> int:
        """What a block counts for in progress: its slices or epochs, or one block."""
        return 1 if self.unit == "blocks" else block.write.shape[0]

    def name_of(self, block: Block) -> str:
        """What messages call a block."""
        if self.unit != "slices":
            return f"block {block.index}"
        return f"slices {block.write.start[0]} to {block.write.stop[0] - 1}"

    @property
    def total(self) -> int:
        return sum(self.units(block) for block in self.blocks)


@dataclass(frozen=True)
class Usage:
    """What a block has taken so far, in the process `process` (its name on all machines).

    `device_s` are the seconds that it had the device for itself. The bytes read and written are
    those of its voxels, before compression. Memory is the most that the process has held.
    """

    process: str
    device_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    memory_bytes: int = 0
    device_bytes: int = 0


@dataclass(frozen=True)
class Progress:
    """`done` units of block `block` of a stage are done; `note` is for people (loss, rate)."""

    stage: Stage
    block: int
    done: int
    note: str = ""
    usage: Usage | None = None


Listener = Callable[[Progress], None]
Reporter = Callable[[int, str, Usage | None], None]


class Run(Protocol):
    """Runs a stage's task on blocks; raises what the first failing block raised."""

    def __call__(self, stage: Stage, blocks: Sequence[Block], listen: Listener, /) -> None: ...


class Executor(Protocol):
    """Runs a stage's task on blocks. Tasks get paths, never arrays; results are tiny."""

    @property
    def workers(self) -> int:
        """Processes, each with as many blocks under way as the stage has slots."""
        ...

    @property
    def memory(self) -> int | None:
        """Bytes all workers together may hold; None where it cannot be known from here."""
        ...

    def session(self, slots: int, /) -> AbstractContextManager[Run]:
        """What runs blocks while it is entered; workers may be kept from stage to stage.

        `slots` is the most that any of the stages has.
        """
        ...


_reporter: contextvars.ContextVar[Reporter | None] = contextvars.ContextVar(
    "reporter", default=None
)


def report(done: int, note: str = "", usage: Usage | None = None) -> None:
    """Called by a task, in the thread it was called in: so many units of its block are done."""
    reporter = _reporter.get()
    if reporter is not None:
        reporter(done, note, usage)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """While active, `report` in this thread goes to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def run_block(task: Task, journal: Journal, block: Block) -> None:
    """Do one block and note it; a block that another writer has finished is not done again.

    Raises StoppedError, before it begins, where this process was asked to stop, and PartialError
    where another run has begun anew.
    """
    stopping.check()
    journal.check()
    if not journal.is_done(block.index):
        journal.record(block.index, task(block))


def do_block(stage: Stage, block: Block, listen: Listener) -> None:
    """Do one block of a stage in this process, and tell `listen`."""

    def reporter(done: int, note: str, usage: Usage | None) -> None:
        listen(Progress(stage, block.index, done, note, usage))

    with reporting(reporter):
        run_block(stage.task, stage.journal, block)
    listen(Progress(stage, block.index, stage.units(block)))
