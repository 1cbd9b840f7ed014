"""Signals to a run."""

import os
import signal
import time
from dataclasses import dataclass

import pytest

from xctvol import stopping
from xctvol.errors import StoppedError
from xctvol.grid import Grid
from xctvol.journal import Journal
from xctvol.plan import Serial, Stage

GRID = Grid((80, 4, 4), (2, 4, 4))  # so many that a signal comes before the last, in any thread


@dataclass(frozen=True)
class Signal:
    """Sends itself a signal in the third block, and takes `seconds` to end it."""

    number: int
    seconds: float = 0.0

    def __call__(self, block):
        if block.index == 2:
            os.kill(os.getpid(), self.number)
            time.sleep(self.seconds)


def do(executor, stage):
    with executor.session(stage.slots) as run:
        run(stage, stage.pending(), lambda _: None)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 4), (signal.SIGUSR1, 4)]
)
def test_the_block_under_way_ends_and_no_other_begins(tmp_path, number, code, slots):
    stage = Stage("wait", Signal(number), GRID, Journal(tmp_path), slots=slots)
    with stopping.stopping_on_signals(), pytest.raises(StoppedError) as caught:
        do(Serial(), stage)
    assert caught.value.exit_code == code
    assert signal.Signals(number).name in str(caught.value)
    assert 2 in stage.journal.done()
    assert len(stage.journal.done()) < len(GRID)
    with stopping.stopping_on_signals():
        do(Serial(), stage)
    assert len(stage.journal.done()) == len(GRID), "a new run is not stopped by an old signal"


def test_a_block_that_does_not_end_in_time_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("XCTVOL_GRACE_S", "0.2")
    stage = Stage("wait", Signal(signal.SIGUSR1, seconds=30), GRID, Journal(tmp_path))
    with stopping.stopping_on_signals(), pytest.raises(StoppedError):
        do(Serial(), stage)
    assert stage.journal.done() == {0, 1}
    assert stopping.overdue()


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.stopping_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
