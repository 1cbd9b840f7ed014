"""Blocks of one plan that several do: parts, runs that meet, and slots of one process."""

import threading
from dataclasses import dataclass, replace

import pytest

from xctvol.errors import PartialError, UsageError
from xctvol.files import write_json
from xctvol.plan import Plan, Progress, Serial, Task, report

SUM = sum(i**2 for i in range(6))


@dataclass(frozen=True)
class Together:
    """Wait until so many blocks are under way in threads of their own."""

    barrier: threading.Barrier

    def __call__(self, block):
        self.barrier.wait(timeout=10)
        report(1, threading.current_thread().name)


@dataclass(frozen=True)
class Overtaken:
    """At block 3 another run of the same plan comes, does the rest, finishes and cleans up."""

    task: Task
    other: Plan
    missing: bool

    def __call__(self, block):
        if block.index == 3:
            assert self.other.run() == SUM
            if self.missing:
                raise FileNotFoundError("what was being written is gone")
        return self.task(block)


@dataclass(frozen=True)
class JustFinished(Serial):
    """Takes so long to start that another run has done everything."""

    other: Plan | None = None

    def session(self, slots):
        assert self.other.run() == SUM
        return super().session(slots)


def test_a_run_that_starts_as_another_finishes_does_nothing_again(sum_of_squares, path, attempts):
    assert sum_of_squares(path).run(JustFinished(other=sum_of_squares(path))) == SUM
    assert attempts() == dict.fromkeys(range(6), 1)
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_parts_share_the_blocks_and_the_last_one_concludes(
    sum_of_squares, path, tmp_path, attempts
):
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


def test_a_part_that_failed_is_continued_by_itself_or_by_the_whole(
    sum_of_squares, path, attempts, full
):
    plan = sum_of_squares(path)
    full(5)
    with pytest.raises(PartialError):
        plan.part(3, 3).run()
    full()
    assert plan.run() == SUM
    assert attempts() == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 2}


def test_more_parts_than_blocks(sum_of_squares, path):
    plan = sum_of_squares(path)
    results = [plan.part(number, 9).run() for number in range(1, 10)]
    assert results == [None] * 5 + [SUM] * 4


@pytest.mark.parametrize(("number", "count"), [(0, 3), (4, 3), (1, 0)])
def test_parts_that_do_not_exist(sum_of_squares, path, number, count):
    with pytest.raises(UsageError, match=f"part {number}/{count} does not exist"):
        sum_of_squares(path).part(number, count)


def test_parts_never_overwrite(sum_of_squares, path):
    with pytest.raises(UsageError, match="none of them may overwrite"):
        sum_of_squares(path).overwrite().part(1, 2)


@pytest.mark.parametrize("missing", [False, True])
def test_a_run_that_is_overtaken_by_another_finds_the_product_finished(
    sum_of_squares, path, tmp_path, missing
):
    plan = sum_of_squares(path)
    (stage,) = plan.stages
    late = replace(plan, stages=(replace(stage, task=Overtaken(stage.task, plan, missing)),))
    assert late.run() == SUM
    assert (tmp_path / "concluded").read_text() == "plan\n"
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_slots_are_blocks_side_by_side_in_one_process(sum_of_squares, path):
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
    sum_of_squares, path, attempts, full
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
