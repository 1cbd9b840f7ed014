"""What a plan promises, of one run after the other: the toy product is in conftest.py."""

import contextlib
import itertools
import pickle
import sys
from dataclasses import dataclass, replace

import pytest

from xctvol.errors import InputError, PartialError, PlanError
from xctvol.files import write_json
from xctvol.journal import Journal
from xctvol.plan import Progress, Serial, Stage, read_recipe, report, reporting
from xctvol.resources import free_disk

SUM = sum(i**2 for i in range(6))


def test_a_plan_touches_nothing_until_it_runs(sum_of_squares, path, tmp_path):
    plan = sum_of_squares(path)
    plan.check(Serial())
    assert not plan.finished()
    assert str(plan)
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_every_block_once_and_leaves_only_the_product(sum_of_squares, path, attempts):
    plan = sum_of_squares(path)
    assert plan.run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)
    assert plan.finished()
    assert sorted(file.name for file in path.iterdir()) == ["numbers", "sum.json"]


def test_a_finished_plan_runs_nothing(sum_of_squares, path, attempts):
    sum_of_squares(path).run()
    assert sum_of_squares(path).run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)


def test_a_rerun_does_only_what_is_missing(sum_of_squares, path, attempts, full):
    full(3)
    with pytest.raises(PartialError):
        sum_of_squares(path).run()
    assert attempts() == {0: 1, 1: 1, 2: 1, 3: 1}
    assert not sum_of_squares(path).finished()
    assert "square: 12 slices in 6 blocks, 3 done" in str(sum_of_squares(path))
    full()
    assert sum_of_squares(path).run() == SUM
    assert attempts() == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1}


def test_a_failed_conclusion_is_done_again_without_the_blocks(sum_of_squares, path, attempts):
    def broken():
        raise PartialError("the disk is full")

    plan = sum_of_squares(path)
    with pytest.raises(PartialError):
        replace(plan, conclude=broken).run()
    assert not plan.finished()
    assert plan.run() == SUM
    assert attempts() == dict.fromkeys(range(6), 1)


def test_a_stage_concludes_before_the_next_begins(sum_of_squares, path):
    order, (squares,) = [], sum_of_squares(path).stages

    def stage(name):
        return Stage(
            name, order.append, squares.blocks, Journal(path / ".work" / name),
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


def test_other_options_are_refused_by_name_while_unfinished(sum_of_squares, path, attempts, full):
    full(3)
    with pytest.raises(PartialError):
        sum_of_squares(path).run()
    other = sum_of_squares(path, weight=2, speed="fast")
    with pytest.raises(PlanError, match="is unfinished and was started with other speed, weight;"):
        other.run()
    assert sum(attempts().values()) == 4


def test_other_options_are_refused_by_name_when_finished(sum_of_squares, path, attempts):
    sum_of_squares(path).run()
    with pytest.raises(PlanError, match=r"exists and was started with other speed; .*--overwrite"):
        sum_of_squares(path, speed="fast").run()
    assert sum_of_squares(path).finished()
    assert sum(attempts().values()) == 6


def test_overwrite_replaces_the_finished_and_the_unfinished(sum_of_squares, path, attempts, full):
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


def test_overwrite_does_the_same_again_where_it_is_finished(sum_of_squares, path, attempts):
    sum_of_squares(path).run()
    assert sum_of_squares(path).overwrite().run() == SUM
    assert attempts() == dict.fromkeys(range(6), 2)


@pytest.mark.parametrize("failing", [(), (3,)], ids=["finished", "unfinished"])
def test_wherever_a_run_is_killed_that_deletes_the_next_believes_nothing(
    sum_of_squares, path, full, failing
):
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


def test_overwrite_never_deletes_what_is_not_ours(sum_of_squares, path):
    path.write_text("thesis")
    for plan in (sum_of_squares(path), sum_of_squares(path).overwrite()):
        with pytest.raises(PlanError, match="is not a sum"):
            plan.run()
    assert path.read_text() == "thesis"


def test_too_little_memory_is_refused_before_anything_is_written(sum_of_squares, path, tmp_path):
    plan = sum_of_squares(path, peak_memory=3_000_000_000)
    message = r"add needs 3.0 GB of memory \(3.0 GB a worker, 1 workers\) but 2.0 GB are available"
    with pytest.raises(PlanError, match=message):
        plan.run(Serial(memory_limit=2_000_000_000))
    assert list(tmp_path.iterdir()) == []
    plan.check(Serial(memory_limit=3_000_000_000))


def test_memory_counts_every_worker(sum_of_squares, path):
    @dataclass(frozen=True)
    class Four(Serial):
        workers = 4

    plan = sum_of_squares(path, peak_memory=1_000)
    plan.check(Four(memory_limit=4_000))
    with pytest.raises(PlanError, match=r"needs 4\.0 kB .* 4 workers"):
        plan.check(Four(memory_limit=3_999))


def test_unknown_memory_refuses_nothing(sum_of_squares, path):
    class Elsewhere(Serial):
        memory = None

    sum_of_squares(path, peak_memory=10**18).check(Elsewhere())


def test_a_full_disk_is_refused_before_anything_is_written(sum_of_squares, path, tmp_path):
    with pytest.raises(PlanError, match=r"add writes up to 1000000\.0 TB to .* make room"):
        sum_of_squares(path, writes=10**18).run()
    assert list(tmp_path.iterdir()) == []


def test_disk_is_asked_only_for_what_is_not_done(sum_of_squares, path, full):
    too_much = int(1.5 * free_disk(path))
    full(3)
    with pytest.raises(PlanError, match="make room"):
        sum_of_squares(path, writes=too_much).run()
    with pytest.raises(PartialError):
        sum_of_squares(path).run()
    full()
    assert sum_of_squares(path, writes=too_much).run() == SUM, "half of it is there"


def test_progress_tells_every_block_and_what_tasks_report(sum_of_squares, path):
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
def test_units_of_progress(sum_of_squares, path, unit, total):
    (stage,) = sum_of_squares(path).stages
    assert replace(stage, unit=unit).total == total


def test_a_plan_prints_what_it_will_do(sum_of_squares, path):
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


def test_plans_travel_to_other_processes(sum_of_squares, path):
    plan = sum_of_squares(path)
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_a_damaged_recipe_names_its_product(path):
    with pytest.raises(InputError, match=f"{path}: the record of how it was made is damaged"):
        read_recipe(path, {})
