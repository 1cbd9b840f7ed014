"""A toy product that runs through everything a plan promises.

It adds up the numbers of its blocks in a folder. Every execution of a block leaves a line in
`attempts`, beside the product, so the tests count work that was really done.
"""

import contextlib
import itertools
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from xctvol.errors import InputError, PartialError, PlanError, UsageError
from xctvol.files import read_json, remove_tree, write_json
from xctvol.grid import Grid
from xctvol.journal import Journal, Recipe
from xctvol.plan import Plan, Progress, Serial, Stage, read_recipe, report, reporting
from xctvol.resources import free_disk

GRID = Grid((12, 4, 4), (2, 4, 4))


@dataclass(frozen=True)
class Sums:
    """The product: a folder with one number a block, and `sum.json`, written last."""

    path: Path

    @property
    def work(self):
        return self.path / ".work"

    def made_by(self):
        if self.path.is_file():
            raise PlanError(f"{self.path} is not a sum")
        if not (self.path / "sum.json").exists():
            return None
        return read_recipe(self.path, read_json(self.path / "sum.json")["made_by"])

    def open(self):
        return read_json(self.path / "sum.json")["sum"]

    def remove(self):
        (self.path / "sum.json").unlink(missing_ok=True)
        remove_tree(self.path / "numbers")


@dataclass(frozen=True)
class Square:
    """Square a block's number; the disk is full at the blocks in the folder `full`."""

    path: Path

    def __call__(self, block):
        with open(self.path.with_name("attempts"), "a") as file:
            file.write(f"{block.index}\n")
        write_json(self.path / "numbers" / f"{block.index}.json", block.index)
        if (self.path.with_name("full") / str(block.index)).exists():
            raise PartialError("the disk is full")
        report(1, "half")
        return block.index**2


@dataclass(frozen=True)
class Conclude:
    product: Sums
    recipe: Recipe
    journal: Journal

    def __call__(self):
        with open(self.product.path.with_name("concluded"), "a") as file:
            file.write("plan\n")
        total = sum(self.journal.results().values())
        write_json(self.product.path / "sum.json", {"sum": total, "made_by": self.recipe.to_json()})


@dataclass(frozen=True)
class Together:
    """Wait until so many blocks are under way in threads of their own."""

    barrier: threading.Barrier

    def __call__(self, block):
        self.barrier.wait(timeout=10)
        report(1, threading.current_thread().name)


@dataclass(frozen=True)
class Overtaken(Square):
    """At block 3 another run of the same plan comes, does the rest, finishes and cleans up."""

    missing: bool

    def __call__(self, block):
        if block.index == 3:
            assert sum_of_squares(self.path).run() == SUM
            if self.missing:
                raise FileNotFoundError("what was being written is gone")
        return super().__call__(block)


def sum_of_squares(path, weight=1, speed="slow", **bounds):
    product = Sums(path)
    recipe = Recipe("add", {"scan": "leaf"}, {"weight": weight, "speed": speed})
    journal = Journal(product.work / "square")
    return Plan(
        recipe=recipe,
        product=product,
        stages=(Stage("square", Square(path), GRID, journal),),
        conclude=Conclude(product, recipe, journal),
        **({"peak_memory": 1000, "reads": 2_000_000, "writes": 6_000} | bounds),
    )


SUM = sum(i**2 for i in range(6))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "squares"


@pytest.fixture
def attempts(tmp_path) -> Callable[[], Counter]:
    def attempts():
        file = tmp_path / "attempts"
        return Counter(int(line) for line in file.read_text().split()) if file.exists() else {}

    return attempts


@pytest.fixture
def full(tmp_path):
    """Says at which blocks the disk is full from now on."""

    def full(*blocks):
        remove_tree(tmp_path / "full")
        for block in blocks:
            (tmp_path / "full").mkdir(exist_ok=True)
            (tmp_path / "full" / str(block)).touch()

    return full


def test_a_plan_touches_nothing_until_it_runs(path, tmp_path):
    plan = sum_of_squares(path)
    plan.check(Serial())
    assert not plan.finished()
    assert str(plan)
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_every_block_once_and_leaves_only_the_product(path, attempts):
    plan = sum_of_squares(path)
    assert plan.run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)
    assert plan.finished()
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_a_finished_plan_runs_nothing(path, attempts):
    sum_of_squares(path).run()
    assert sum_of_squares(path).run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)


@dataclass(frozen=True)
class JustFinished(Serial):
    """Takes so long to start that another run has done everything."""

    path: Path = Path()

    def session(self, slots):
        assert sum_of_squares(self.path).run() == SUM
        return super().session(slots)


def test_a_run_that_starts_as_another_finishes_does_nothing_again(path, attempts):
    assert sum_of_squares(path).run(JustFinished(path=path)) == SUM
    assert attempts() == dict.fromkeys(range(6), 1)
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_a_rerun_does_only_what_is_missing(path, attempts, full):
    full(3)
    with pytest.raises(PartialError):
        sum_of_squares(path).run()
    assert attempts() == {0: 1, 1: 1, 2: 1, 3: 1}
    assert not sum_of_squares(path).finished()
    assert "square: 12 slices in 6 blocks, 3 done" in str(sum_of_squares(path))
    full()
    assert sum_of_squares(path).run() == SUM
    assert attempts() == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1}


def test_a_failed_conclusion_is_done_again_without_the_blocks(path, attempts):
    def broken():
        raise PartialError("the disk is full")

    plan = sum_of_squares(path)
    with pytest.raises(PartialError):
        replace(plan, conclude=broken).run()
    assert not plan.finished()
    assert plan.run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)


def test_a_stage_concludes_before_the_next_begins(path):
    order = []

    def stage(name):
        return Stage(
            name, order.append, GRID, Journal(path / ".work" / name),
            conclude=lambda: order.append(f"{name} concluded"),
        )  # fmt: skip  # the arguments that matter less share a line

    plan = replace(
        sum_of_squares(path),
        stages=(stage("a"), stage("b")),
        conclude=lambda: write_json(
            path / "sum.json", {"sum": 0, "made_by": plan.recipe.to_json()}
        ),
    )
    plan.run()
    assert [o if isinstance(o, str) else o.index for o in order] == [
        *range(6), "a concluded", *range(6), "b concluded",
    ]  # fmt: skip  # in the order of the run


def test_other_options_are_refused_by_name_while_unfinished(path, attempts, full):
    full(3)
    with pytest.raises(PartialError):
        sum_of_squares(path).run()
    other = sum_of_squares(path, weight=2, speed="fast")
    with pytest.raises(PlanError, match="is unfinished and was started with other speed, weight;"):
        other.run()
    assert sum(attempts().values()) == 4


def test_other_options_are_refused_by_name_when_finished(path, attempts):
    sum_of_squares(path).run()
    with pytest.raises(PlanError, match=r"exists and was started with other speed; .*--overwrite"):
        sum_of_squares(path, speed="fast").run()
    assert sum_of_squares(path).finished()
    assert sum(attempts().values()) == 6


def test_overwrite_replaces_the_finished_and_the_unfinished(path, attempts, full):
    sum_of_squares(path).run()
    full(3)
    other = sum_of_squares(path, weight=2)
    with pytest.raises(PartialError):
        other.overwrite().run()
    assert not sum_of_squares(path).finished(), "the old product is gone before the new begins"
    full()
    third = sum_of_squares(path, weight=3)
    assert third.overwrite().run() == SUM
    assert third.finished()
    assert attempts()[0] == 3


def test_overwrite_does_the_same_again_where_it_is_finished(path, attempts):
    sum_of_squares(path).run()
    assert sum_of_squares(path).overwrite().run() == SUM
    assert attempts() == dict.fromkeys(range(6), 2)


@pytest.mark.parametrize("failing", [(), (3,)], ids=["finished", "unfinished"])
def test_wherever_a_run_is_killed_that_deletes_the_next_believes_nothing(path, full, failing):
    """Else it would take blocks for finished whose numbers are no longer there."""
    for deletions in itertools.count():
        full(*failing)
        with contextlib.suppress(PartialError):
            sum_of_squares(path).overwrite().run()
        full()
        with _killed_at_deletion(deletions) as interrupted:
            sum_of_squares(path).overwrite().run()
        assert sum_of_squares(path).run() == SUM
        assert len(list((path / "numbers").iterdir())) == 6
        if not interrupted:
            break
    assert deletions > 10


@contextlib.contextmanager
def _killed_at_deletion(number):
    """Raise at the n-th time that a file or folder is about to be deleted; whether that came."""
    interrupted = []

    def hook(event, _):
        nonlocal number
        if event in ("os.remove", "os.rmdir") and armed:
            number -= 1
            if number < 0 and not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt

    armed = True
    sys.addaudithook(hook)  # for ever, so it has to be told when it is over
    try:
        yield interrupted
    except KeyboardInterrupt:
        pass
    finally:
        armed = False


def test_overwrite_never_deletes_what_is_not_ours(path):
    path.write_text("thesis")
    for plan in (sum_of_squares(path), sum_of_squares(path).overwrite()):
        with pytest.raises(PlanError, match="is not a sum"):
            plan.run()
    assert path.read_text() == "thesis"


def test_too_little_memory_is_refused_before_anything_is_written(path, tmp_path):
    plan = sum_of_squares(path, peak_memory=3_000_000_000)
    message = r"add needs 3.0 GB of memory \(3.0 GB a worker, 1 workers\) but 2.0 GB are available"
    with pytest.raises(PlanError, match=message):
        plan.run(Serial(memory_limit=2_000_000_000))
    assert list(tmp_path.iterdir()) == []
    plan.check(Serial(memory_limit=3_000_000_000))


def test_memory_counts_every_worker(path):
    @dataclass(frozen=True)
    class Four(Serial):
        workers = 4

    plan = sum_of_squares(path, peak_memory=1_000)
    plan.check(Four(memory_limit=4_000))
    with pytest.raises(PlanError, match=r"needs 4\.0 kB .* 4 workers"):
        plan.check(Four(memory_limit=3_999))


def test_unknown_memory_refuses_nothing(path):
    class Elsewhere(Serial):
        memory = None

    sum_of_squares(path, peak_memory=10**18).check(Elsewhere())


def test_a_full_disk_is_refused_before_anything_is_written(path, tmp_path):
    with pytest.raises(PlanError, match=r"add writes up to 1000000\.0 TB to .* make room"):
        sum_of_squares(path, writes=10**18).run()
    assert list(tmp_path.iterdir()) == []


def test_disk_is_asked_only_for_what_is_not_done(path, full):
    too_much = int(1.5 * free_disk(path))
    full(3)
    with pytest.raises(PlanError, match="make room"):
        sum_of_squares(path, writes=too_much).run()
    with pytest.raises(PartialError):
        sum_of_squares(path).run()
    full()
    assert sum_of_squares(path, writes=too_much).run() == SUM, "half of it is there"


def test_parts_share_the_blocks_and_the_last_one_concludes(path, tmp_path, attempts):
    plan = sum_of_squares(path)
    assert plan.part(3, 3).run() is None
    assert attempts() == {2: 1, 5: 1}
    assert plan.part(1, 3).run() is None
    assert plan.part(2, 3).run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)
    assert (tmp_path / "concluded").read_text() == "plan\n"
    assert [plan.part(number, 3).run() for number in (1, 2, 3)] == [SUM] * 3
    assert (tmp_path / "concluded").read_text() == "plan\n"
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_a_part_that_failed_is_continued_by_itself_or_by_the_whole(path, attempts, full):
    plan = sum_of_squares(path)
    full(5)
    with pytest.raises(PartialError):
        plan.part(3, 3).run()
    full()
    assert plan.run() == SUM
    assert attempts() == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 2}


def test_more_parts_than_blocks(path):
    plan = sum_of_squares(path)
    results = [plan.part(number, 9).run() for number in range(1, 10)]
    assert results == [None] * 5 + [SUM] * 4


@pytest.mark.parametrize(("number", "count"), [(0, 3), (4, 3), (1, 0)])
def test_parts_that_do_not_exist(path, number, count):
    with pytest.raises(UsageError, match=f"part {number}/{count} does not exist"):
        sum_of_squares(path).part(number, count)


def test_parts_never_overwrite(path):
    with pytest.raises(UsageError, match="none of them may overwrite"):
        sum_of_squares(path).overwrite().part(1, 2)


@pytest.mark.parametrize("missing", [False, True])
def test_a_run_that_is_overtaken_by_another_finds_the_product_finished(path, tmp_path, missing):
    plan = sum_of_squares(path)
    late = replace(plan, stages=(replace(plan.stages[0], task=Overtaken(path, missing)),))
    assert late.run() == SUM
    assert (tmp_path / "concluded").read_text() == "plan\n"
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_slots_are_blocks_side_by_side_in_one_process(path):
    heard: list[Progress] = []
    plan = sum_of_squares(path)
    stage = replace(plan.stages[0], task=Together(threading.Barrier(3)), slots=3)
    plan = replace(plan, stages=(stage,), conclude=lambda: write_json(
        path / "sum.json", {"sum": 0, "made_by": plan.recipe.to_json()}
    ))  # fmt: skip  # one value
    plan.run(listen=heard.append)
    assert {event.block for event in heard if event.done == 2} == set(range(6))
    assert len({event.note for event in heard if event.note}) == 3


def test_a_failure_in_one_slot_starts_no_more_blocks_and_keeps_what_was_under_way(
    path, attempts, full
):
    full(1)
    plan = sum_of_squares(path)
    plan = replace(plan, stages=(replace(plan.stages[0], slots=2),))
    with pytest.raises(PartialError):
        plan.run()
    tried = attempts()
    assert plan.stages[0].journal.done() == set(tried) - {1}
    full()
    assert plan.run() == SUM
    assert attempts() == {**dict.fromkeys(range(6), 1), 1: 2}


def test_progress_tells_every_block_and_what_tasks_report(path):
    heard: list[Progress] = []
    sum_of_squares(path).run(listen=heard.append)
    told = [(event.block, event.done, event.note) for event in heard]
    assert told == [(i, done, note) for i in range(6) for done, note in ((1, "half"), (2, ""))]


def test_reports_go_nowhere_outside_a_run():
    heard = []
    with reporting(lambda done, note, usage: heard.append((done, note))):
        report(1, "loss 0.1")
    report(2)
    assert heard == [(1, "loss 0.1")]


@pytest.mark.parametrize(("unit", "total"), [("slices", 12), ("epochs", 12), ("blocks", 6)])
def test_units_of_progress(path, unit, total):
    stage = Stage("square", Square(path), GRID, Journal(path), unit)
    assert stage.total == total


def test_a_plan_prints_what_it_will_do(path):
    plan = replace(sum_of_squares(path), notes=("with pencil and paper",))
    assert str(plan).splitlines() == [
        f"add -> {path}",
        "  square: 12 slices in 6 blocks, 0 done",
        "  reads 2.0 MB, writes up to 6.0 kB, holds 1.0 kB a worker",
        "  with pencil and paper",
    ]
    plan.run()
    assert "6 blocks, 6 done" in str(plan)
    assert "6 blocks, 0 done" in str(plan.overwrite())


def test_plans_travel_to_other_processes(path):
    plan = sum_of_squares(path)
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_a_damaged_recipe_names_its_product(path):
    with pytest.raises(InputError, match=f"{path}: the record of how it was made is damaged"):
        read_recipe(path, {})
