"""Work in threads gives what a loop gives, in order, and never runs far ahead."""

import threading
import time

import pytest

from xctvol.resources import thread_budget
from xctvol.volume.threads import in_threads, in_turn


@pytest.mark.parametrize("threads", ["1", "4"])
def test_results_come_in_order(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)

    def slow_when_even(number):
        time.sleep(0.002 * (number % 2))
        return number * number

    expected = [n * n for n in range(40)]
    assert in_threads(slow_when_even, range(40)) == expected
    assert list(in_turn(slow_when_even, range(40))) == expected


def test_only_a_few_parts_are_made_before_they_are_asked_for():
    made = []
    results = in_turn(made.append, range(1000))
    next(results)
    time.sleep(0.05)
    assert len(made) <= 2 * thread_budget() + 1
    results.close()


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_failure_is_raised_and_nothing_goes_on_behind_it(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    running = threading.Semaphore(0)

    def work(number):
        if number == 3:
            raise OSError("no space left")
        running.release()
        time.sleep(0.01)
        running.acquire()

    for start in (lambda: list(in_turn(work, range(100))), lambda: in_threads(work, range(100))):
        with pytest.raises(OSError, match="no space"):
            start()
        assert not running.acquire(blocking=False)


def test_large_parts_may_share_out_small_ones():
    def sum_of_squares(n):
        return sum(in_turn(lambda k: k * k, range(n)))

    assert in_threads(sum_of_squares, range(20)) == [
        sum(k * k for k in range(n)) for n in range(20)
    ]
