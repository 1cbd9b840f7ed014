"""What the command line says of a run while it runs, from the progress of its blocks."""

import pytest

from xctvol.cli.progress import Display, Tally
from xctvol.grid import Grid
from xctvol.journal import Journal
from xctvol.plan import Progress, Stage, Usage

GRID = Grid((10, 4, 4), (4, 4, 4))  # blocks of 4, 4 and 2 slices


class Clock:
    """Time that passes when it is told to."""

    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stage(tmp_path):
    return Stage("segment", print, GRID, Journal(tmp_path))


def usage(process="a:1", **taken):
    return Usage(process, **taken)


def test_slices_count_once_whatever_is_told_of_them(stage, clock):
    tally = Tally(stage, clock)
    for done in (2, 3, 1, 4):
        tally.add(Progress(stage, 0, done))
        assert tally.done == max(done, 3 if done == 1 else 0)
    tally.add(Progress(stage, 2, 2))
    assert (tally.done, tally.total, tally.finished) == (6, 10, False)
    tally.add(Progress(stage, 1, 4))
    assert tally.finished


def test_the_rate_is_that_of_this_run(stage, clock):
    stage.journal.record(0, None)  # done by the run before
    tally = Tally(stage, clock)
    assert tally.done == 4
    tally.add(Progress(stage, 1, 1))
    assert tally.rate == 0, "no time has passed yet"
    assert tally.line("") == "segment: 5/10 slices"
    clock.seconds += 2
    tally.add(Progress(stage, 1, 4))
    assert tally.rate == 2
    assert tally.line("") == "segment: 8/10 slices, 2 slices/s, 1.0 s left"
    assert tally.line("loss 0.5").endswith(", loss 0.5")


def test_the_device_is_busy_for_a_share_of_the_time(stage, clock):
    tally = Tally(stage, clock)
    tally.add(Progress(stage, 0, 0, usage=usage()))
    clock.seconds += 4
    tally.add(Progress(stage, 0, 3, usage=usage(device_s=1.0, read_bytes=8_000_000)))
    assert tally.used()[:3] == ["device 25 % busy", "reads 2.0 MB/s", "writes 0 B/s"]
    taken = usage(device_s=3.0, read_bytes=8_000_000, written_bytes=16_000_000)
    tally.add(Progress(stage, 0, 4, usage=taken))
    assert tally.used()[:3] == ["device 75 % busy", "reads 2.0 MB/s", "writes 4.0 MB/s"]


def test_processes_share_the_time_and_add_up_in_memory(stage, clock):
    tally = Tally(stage, clock)
    one, other = (usage(name, memory_bytes=500_000_000) for name in ("a:1", "b:1"))
    tally.add(Progress(stage, 0, 0, usage=one))
    tally.add(Progress(stage, 1, 0, usage=other))
    clock.seconds += 2
    full = {"device_s": 2.0, "memory_bytes": 700_000_000, "device_bytes": 3_000_000_000}
    tally.add(Progress(stage, 0, 4, usage=usage("a:1", **full)))
    assert "device 50 % busy" in tally.used(), "of two devices one was busy all the time"
    assert tally.used()[-2:] == ["1.2 GB memory", "3.0 GB on the device"]
    tally.add(Progress(stage, 2, 1, usage=usage("a:1", memory_bytes=600_000_000)))
    assert "1.2 GB memory" in tally.used(), "two blocks of one process hold its memory once"


def test_where_blocks_tell_nothing_nothing_is_made_up(stage, clock):
    tally = Tally(stage, clock)
    clock.seconds += 5
    tally.add(Progress(stage, 0, 4))
    assert tally.used() == []


class Kept:
    """A view that keeps what it is to draw."""

    def __init__(self):
        self.lines = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return

    def draw(self, tally, note):
        self.lines.append(tally.line(note))


def test_each_stage_is_told_from_its_beginning(stage, tmp_path):
    other = Stage("merge", print, GRID, Journal(tmp_path / "other"))
    view = Kept()
    with Display(view) as listen:
        listen(Progress(stage, 0, 4, "a note"))
        listen(Progress(other, 0, 1))
    assert view.lines == ["segment: 4/10 slices, a note", "merge: 1/10 slices"]
    assert listen.facts() == {}
