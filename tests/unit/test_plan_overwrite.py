"""A run that begins anew while an older one, which nobody stopped, is still at work."""

import pytest

from xctvol.errors import PartialError


@pytest.fixture
def during(sum_of_squares, path):
    """Runs a plan, and something else once the first block is written but not noted."""

    def during(other, **options):
        begun = []

        def listen(progress):
            if progress.note == "half" and not begun:
                begun.append(progress)
                other()

        return sum_of_squares(path, **options).run(listen=listen)

    return during


def test_the_older_run_notes_nothing_in_the_journal_of_the_newer(
    sum_of_squares, path, during, full, attempts
):
    newer = sum_of_squares(path, weight=2)

    def begin_anew():
        full(2)
        with pytest.raises(PartialError, match="full"):
            newer.overwrite().run()
        assert newer.stages[0].journal.done() == {0, 1}
        full()

    with pytest.raises(PartialError, match="begun anew"):
        during(begin_anew)
    assert newer.stages[0].journal.done() == {1}, "what the older run wrote lies over block 0"
    assert attempts() == {0: 2, 1: 1, 2: 1}, "the older run begins no other block"
    assert newer.run() == sum(n**2 for n in range(6))
    assert attempts()[0] == 3


def test_the_older_run_leaves_a_finished_product_alone(sum_of_squares, path, during):
    with pytest.raises(PartialError, match="xctvol verify"):
        during(lambda: sum_of_squares(path, weight=2).overwrite().run())
    assert sum_of_squares(path, weight=2).finished()
    assert not (path / ".work").exists()


def test_an_older_run_of_the_same_finds_everything_done(sum_of_squares, path, during):
    total = during(lambda: sum_of_squares(path).overwrite().run())
    assert total == sum(n**2 for n in range(6))
    assert not (path / ".work").exists()
