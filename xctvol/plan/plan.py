"""Plans and their parts: checked before they start, carried out, continued, concluded once."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from xctvol.errors import InputError, PartialError, PlanError, UsageError, XctvolError
from xctvol.files import read_json, refuse_full, remove_partials, remove_tree, write_json
from xctvol.formats import refuse_newer, stamp
from xctvol.grid import Block
from xctvol.journal import Beginning, Recipe
from xctvol.locations import Location
from xctvol.plan.serial import Serial
from xctvol.plan.stage import Executor, Listener, Progress, Stage
from xctvol.resources import free_disk
from xctvol.units import format_bytes

__all__ = ["Part", "Plan", "Product", "read_recipe", "refuse_own_input"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_RECIPE = "recipe.json"
_REMOVED = "removed"
_BEGUN = "begun"


class Product(Protocol[T_co]):
    """What a plan makes, on disk."""

    @property
    def path(self) -> Location: ...

    @property
    def work(self) -> Location:
        """Folder for journals while the product is unfinished; removed in the end."""
        ...

    def made_by(self) -> Recipe | None:
        """Recipe of the finished product, or None where there is none.

        Raises PlanError where `path` holds something that no plan of this package made.
        """
        ...

    def open(self) -> T_co: ...

    def remove(self) -> None:
        """Delete what is there but `work`, in an order that never leaves it looking finished."""
        ...


def _silent(_: Progress) -> None:
    return


def _every(_: Block) -> bool:
    return True


def _in_place() -> None:
    """Nothing is left to do, as the last task has put the product in place."""


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[T]):
    """Everything known about a run before it starts; `run` carries it out, or continues it.

    `peak_memory` is bytes a worker, all its slots together; `reads` and `writes` are bytes on disk,
    at most. `conclude` marks the product as finished.
    """

    recipe: Recipe
    product: Product[T]
    stages: tuple[Stage, ...]
    peak_memory: int
    reads: int
    writes: int
    conclude: Callable[[], None] = _in_place
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
        if not self.finished() and not self._carry_out(executor or Serial(), listen, _every):
            raise PartialError(
                f"{self.product.path}: blocks that were done are there no longer, another run has "
                "removed them; run the same command again"
            )
        return self._close()

    def _carry_out(
        self, executor: Executor, listen: Listener, mine: Callable[[Block], bool]
    ) -> bool:
        """Do the blocks that are `mine`, and conclude; False where others still have to be done.

        Another run of the same plan may be at work on the same product. It writes the same bytes,
        and when it finishes first it takes the journal away: then there is nothing left to do.
        """
        try:
            stages = self._start(executor)
            with executor.session(max(stage.slots for stage in stages)) as run:
                for stage in stages:
                    todo = stage.pending()
                    if self.finished():  # without a journal, all seems to be left
                        return True
                    run(stage, [block for block in todo if mine(block)], listen)
                    left = stage.pending()
                    if left or self.finished():
                        return self.finished()
                    if stage.conclude is not None:
                        stage.conclude()
            self.conclude()
        except (XctvolError, OSError) as error:
            if self._overtaken():
                return True
            if isinstance(error, OSError):  # of a library, for its own files
                refuse_full(error, error.filename or "a temporary file or a cache")
            raise
        return True

    def _overtaken(self) -> bool:
        """Whether another run has finished the product, as far as can still be seen."""
        try:
            return self.finished()
        except (XctvolError, OSError):
            return False

    def _start(self, executor: Executor) -> tuple[Stage, ...]:
        """The stages, with journals that belong to this beginning."""
        self.check(executor)
        mark = None
        if self.replacing or self._half_removed():
            mark = uuid.uuid4().hex  # a run that is still at work on what was there knows another
            self._remove(mark)
        if not self._recipe_file.exists():
            write_json(self._recipe_file, {**self._stamp, **self.recipe.to_json(), _BEGUN: mark})
        beginning = Beginning(self._recipe_file, self._journal_record().get(_BEGUN))
        return tuple(
            replace(stage, journal=replace(stage.journal, beginning=beginning))
            for stage in self.stages
        )

    def _remove(self, mark: str) -> None:
        """Delete the product with its journal.

        Before anything is gone the journal says so, and what says so goes last: a run that is
        killed meanwhile leaves nothing that the next one would take for finished blocks.
        """
        work = self.product.work
        write_json(self._recipe_file, {**self._stamp, _REMOVED: True, _BEGUN: mark})
        self.product.remove()
        for entry in work.iterdir():
            if entry.name != _RECIPE:
                remove_tree(entry)
        remove_tree(work)

    @property
    def _recipe_file(self) -> Location:
        return self.product.work / _RECIPE

    @property
    def _stamp(self) -> dict[str, Any]:
        return {"journal": stamp("journal")}

    def _half_removed(self) -> bool:
        """Whether a run was killed while it deleted what is here."""
        return _REMOVED in self._journal_record()

    def _journal_record(self) -> dict[str, Any]:
        """What the journal says of itself; empty where there is none."""
        if not self._recipe_file.exists():
            return {}
        record = read_json(self._recipe_file)
        if not isinstance(record, dict):
            raise InputError(f"{self._recipe_file} is damaged; use --overwrite to begin anew")
        refuse_newer("journal", f"what is unfinished at {self.product.path}", record.get("journal"))
        return record

    def _close(self) -> T:
        """Open the finished product, and nothing else is left."""
        remove_tree(self.product.work)
        remove_partials(self.product.path)  # of runs, too, that were killed after it was finished
        return self.product.open()

    def _unfinished(self) -> Recipe | None:
        record = self._journal_record()
        if not record or _REMOVED in record:
            return None
        return read_recipe(self._recipe_file, record)

    def _check_existing(self) -> None:
        if self.replacing:
            self.product.made_by()  # raises for what is not ours to delete
            self._refuse_other_verb()
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

    def _refuse_other_verb(self) -> None:
        """Raise PlanError where what is unfinished would become something else altogether."""
        unfinished = self._unfinished()
        if unfinished is not None and unfinished.verb.split()[0] != self.verb.split()[0]:
            raise PlanError(
                f"{self.product.path} is unfinished and was started by xctvol {unfinished.verb}; "
                "choose another name, or delete it"
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
        plan = self.plan
        carry_out, close = plan._carry_out, plan._close  # noqa: SLF001 - another way to run a plan
        if not plan.finished() and not carry_out(executor or Serial(), listen, self._has):
            return None
        return close()

    def _has(self, block: Block) -> bool:
        return block.index % self.count == self.number - 1


def refuse_own_input(inputs: Iterable[Path | None], *outputs: Path) -> None:
    """Raise UsageError where what is to be read would be replaced, or lies inside of what is."""
    for file in filter(None, inputs):
        for output in outputs:
            if file.resolve().is_relative_to(output.resolve()):
                raise UsageError(
                    f"{file} is read by this run, and replacing {output} would delete it first; "
                    "give what is written another name"
                )


def read_recipe(path: Location, value: Any) -> Recipe:
    """The recipe recorded in the product at `path`; raises InputError naming it."""
    try:
        return Recipe.from_json(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
