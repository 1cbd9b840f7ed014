"""Plans: what a verb will read, write and hold in memory, known before anything is touched.

A heavy verb returns a `Plan`. Its stages are lists of blocks with one task; an executor runs the
task on every block that the journal does not know yet, and the plan's conclusion marks the
product finished, last of all. `Serial` is the reference executor: any other gives equal bytes.
"""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from xctvol.errors import InputError, PlanError, UsageError
from xctvol.files import read_json, remove_partials, remove_tree, write_json
from xctvol.grid import Block
from xctvol.journal import Journal, Recipe
from xctvol.resources import available_memory, free_disk
from xctvol.units import format_bytes

__all__ = [
    "Executor",
    "Listener",
    "Part",
    "Plan",
    "Product",
    "Progress",
    "Run",
    "Serial",
    "Stage",
    "Task",
    "report",
    "reporting",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Unit = Literal["slices", "blocks", "epochs"]


class Task(Protocol):
    """A frozen dataclass of paths and numbers: picklable, comparable, printable.

    Called with a block it does the block's work, completely and repeatably, and returns a small
    JSON value for the journal.
    """

    def __call__(self, block: Block, /) -> Any: ...


@dataclass(frozen=True)
class Stage:
    """One task over many blocks. `conclude` runs once all of them are done."""

    name: str
    task: Task
    blocks: "Blocks"
    journal: Journal
    unit: Unit = "slices"
    conclude: Callable[[], None] | None = None

    def pending(self) -> list[Block]:
        done = self.journal.done()
        return [block for block in self.blocks if block.index not in done]

    def units(self, block: Block) -> int:
        """What a block counts for in progress: its slices or epochs, or one block."""
        return 1 if self.unit == "blocks" else block.write.shape[0]

    @property
    def total(self) -> int:
        return sum(self.units(block) for block in self.blocks)


class Blocks(Protocol):
    """A grid, or a sequence of blocks."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Block]: ...


@dataclass(frozen=True)
class Progress:
    """`done` units of block `block` of a stage are done; `note` is for people (loss, rate)."""

    stage: Stage
    block: int
    done: int
    note: str = ""


Listener = Callable[[Progress], None]


class Run(Protocol):
    """Runs a stage's task on blocks; raises what the first failing block raised."""

    def __call__(self, stage: Stage, blocks: Sequence[Block], listen: Listener, /) -> None: ...


class Executor(Protocol):
    """Runs a stage's task on blocks. Tasks get paths, never arrays; results are tiny."""

    @property
    def workers(self) -> int: ...

    @property
    def memory(self) -> int | None:
        """Bytes all workers together may hold; None where it cannot be known from here."""
        ...

    def session(self) -> AbstractContextManager[Run]:
        """What runs blocks while it is entered; workers may be kept from stage to stage."""
        ...


class Product(Protocol[T_co]):
    """What a plan makes, on disk."""

    @property
    def path(self) -> Path: ...

    @property
    def work(self) -> Path:
        """Folder for journals while the product is unfinished; removed in the end."""
        ...

    def made_by(self) -> Recipe | None:
        """Recipe of the finished product, or None where there is none.

        Raises PlanError where `path` holds something that no plan of this package made.
        """
        ...

    def open(self) -> T_co: ...

    def remove(self) -> None:
        """Delete what is there and `work`, in an order that never leaves it looking finished."""
        ...


_reporter: contextvars.ContextVar[Callable[[int, str], None] | None] = contextvars.ContextVar(
    "reporter", default=None
)


def report(done: int, note: str = "") -> None:
    """Called by a task: so many units of its block are done."""
    reporter = _reporter.get()
    if reporter is not None:
        reporter(done, note)


@contextmanager
def reporting(reporter: Callable[[int, str], None]) -> Iterator[None]:
    """While active, `report` in this thread goes to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def run_block(task: Task, journal: Journal, block: Block) -> None:
    """Do one block and note it; a block that another writer has finished is not done again."""
    if not journal.is_done(block.index):
        journal.record(block.index, task(block))


@dataclass(frozen=True)
class Serial:
    """One block after the other in this process: the reference all executors must equal."""

    memory_limit: int | None = None

    @property
    def workers(self) -> int:
        return 1

    @property
    def memory(self) -> int | None:
        return available_memory() if self.memory_limit is None else self.memory_limit

    def session(self) -> AbstractContextManager[Run]:
        return nullcontext(_run_in_turn)


def _run_in_turn(stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
    for block in blocks:
        with reporting(_to_listener(stage, block, listen)):
            run_block(stage.task, stage.journal, block)
        listen(Progress(stage, block.index, stage.units(block)))


def _to_listener(stage: Stage, block: Block, listen: Listener) -> Callable[[int, str], None]:
    def reporter(done: int, note: str) -> None:
        listen(Progress(stage, block.index, done, note))

    return reporter


def _silent(_: Progress) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[T]):
    """Everything known about a run before it starts; `run` carries it out, or continues it.

    `peak_memory` is bytes a worker; `reads` and `writes` are bytes on disk, at most.
    """

    recipe: Recipe
    product: Product[T]
    stages: tuple[Stage, ...]
    conclude: Callable[[], None]
    peak_memory: int
    reads: int
    writes: int
    notes: tuple[str, ...] = ()
    replacing: bool = field(default=False, repr=False)

    @property
    def verb(self) -> str:
        return self.recipe.verb

    def finished(self) -> bool:
        """Whether the product is there already, complete, made by this very recipe."""
        made_by = None if self.replacing else self.product.made_by()
        return made_by is not None and made_by.digest == self.recipe.digest

    def overwrite(self) -> "Plan[T]":
        """The same plan, which first deletes what is at the product's path."""
        return replace(self, replacing=True)

    def part(self, number: int, count: int) -> "Part[T]":
        """Every `count`-th block from the `number`-th (1-based), for job arrays."""
        return Part(self, number, count)

    def check(self, executor: Executor) -> None:
        """Refuse, before anything is written, what cannot succeed here; raises PlanError."""
        self._check_existing()
        self._check_memory(executor)
        self._check_disk()

    def run(self, executor: Executor | None = None, listen: Listener = _silent) -> T:
        """Do what is not done yet and return the product.

        Safe to call again after any interruption; when all is done it only opens the product.
        Raises PlanError before anything is written, PartialError when it had to stop half-way.
        """
        executor = executor or Serial()
        if not self.finished():
            self._start(executor)
            with executor.session() as run:
                for stage in self.stages:
                    run(stage, stage.pending(), listen)
                    if stage.conclude is not None:
                        stage.conclude()
        self._finish()
        return self.product.open()

    def _start(self, executor: Executor) -> None:
        self.check(executor)
        if self.replacing:
            self.product.remove()
        recipe_file = self.product.work / _RECIPE
        if not recipe_file.exists():
            write_json(recipe_file, self.recipe.to_json())

    def _finish(self) -> None:
        if not self.finished() or self.replacing:
            self.conclude()
        remove_tree(self.product.work)
        remove_partials(self.product.path)

    def _unfinished(self) -> Recipe | None:
        path = self.product.work / _RECIPE
        return Recipe.from_json(read_json(path)) if path.exists() else None

    def _check_existing(self) -> None:
        if self.replacing:
            self.product.made_by()  # raises for what is not ours to delete
            return
        finished = self.product.made_by()
        unfinished = self._unfinished()
        other = finished or unfinished
        if other is None or other.digest == self.recipe.digest:
            return
        state = "exists" if finished else "is unfinished"
        raise PlanError(
            f"{self.product.path} {state} and was started with other "
            f"{', '.join(self.recipe.differences(other))}; use the same again, another name, "
            "or --overwrite to replace it"
        )

    def _check_memory(self, executor: Executor) -> None:
        limit = executor.memory
        need = self.peak_memory * executor.workers
        if limit is not None and need > limit:
            raise PlanError(
                f"{self.verb} needs {format_bytes(need)} of memory "
                f"({format_bytes(self.peak_memory)} a worker, {executor.workers} workers) but "
                f"{format_bytes(limit)} are available; use fewer workers, or a larger machine"
            )

    def _check_disk(self) -> None:
        blocks = sum(len(stage.blocks) for stage in self.stages)
        pending = sum(len(stage.pending()) for stage in self.stages)
        need = self.writes * pending // max(1, blocks)
        free = free_disk(self.product.path)
        if need > free:
            raise PlanError(
                f"{self.verb} writes up to {format_bytes(need)} to {self.product.path} but its "
                f"disk has {format_bytes(free)} free; make room, or choose another disk"
            )

    def __str__(self) -> str:
        lines = [f"{self.verb} -> {self.product.path}"]
        for stage in self.stages:
            pending = 0 if self.finished() else len(stage.pending())
            done = len(stage.blocks) - pending
            lines.append(
                f"  {stage.name}: {stage.total} {stage.unit} in {len(stage.blocks)} blocks, "
                f"{done} done"
            )
        lines.append(
            f"  reads {format_bytes(self.reads)}, writes up to {format_bytes(self.writes)}, "
            f"holds {format_bytes(self.peak_memory)} a worker"
        )
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


@dataclass(frozen=True)
class Part(Generic[T]):
    """One share of a plan's blocks; the part that finishes last concludes the plan."""

    plan: Plan[T]
    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"part {self.number}/{self.count} does not exist: parts are 1/{self.count} "
                f"to {self.count}/{self.count}"
            )
        if self.plan.replacing:
            raise UsageError("parts run side by side, so none of them may overwrite the product")

    def run(self, executor: Executor | None = None, listen: Listener = _silent) -> T | None:
        """Do this part's blocks; the product where all parts are done, else None."""
        plan, executor = self.plan, executor or Serial()
        if plan.finished():
            return plan.product.open()
        plan._start(executor)  # noqa: SLF001 - a part is a plan's other way to run
        with executor.session() as run:
            for stage in plan.stages:
                mine = [b for b in stage.pending() if b.index % self.count == self.number - 1]
                run(stage, mine, listen)
                if plan.finished():  # another part was last, and has removed the journal
                    break
                if stage.pending():
                    return None
                if stage.conclude is not None:
                    stage.conclude()
        plan._finish()  # noqa: SLF001
        return plan.product.open()


_RECIPE = "recipe.json"


def read_recipe(path: Path, value: Any) -> Recipe:
    """The recipe recorded in the product at `path`; raises InputError naming it."""
    try:
        return Recipe.from_json(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
