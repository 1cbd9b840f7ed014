"""What every test of hostile files asks: a named error in a line, or a right answer.

Never another exception, a hang, or more memory than the file could need.
"""

import copy
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xctvol.errors import XctvolError

_SLOWEST_S, _HARMLESS_BYTES = 10.0, 1 << 26  # of the processor: others may keep it busy
_ODD = [
    *(None, True, 0, 1, -1, 2, 3.5, 255, 256, 10**6, 2**40, 2**63, 2**64, 10**30, 1e308),
    *(float("nan"), float("inf"), "", "a", "..", "../../a", "/etc/passwd", "1", "uint8", "object"),
    *([], {}, [0], [-1], [[]], {"a": 1}, [1, 2, 3], [2**40] * 3, ["z", "y", "x"], "x" * 5000),
    *("\x00", "\ud800", "line\nline", [None] * 3),
]


def _places(document, place=()):
    """Where something stands in a JSON document."""
    yield place
    inside = document.items() if isinstance(document, dict) else ()
    inside = enumerate(document) if isinstance(document, list) else inside
    for key, value in inside:
        yield from _places(value, (*place, key))


def _changed(document, place, value):
    if not place:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


@pytest.fixture(scope="session")
def documents():
    """A strategy of documents that differ from a good one in one or two places."""

    @st.composite
    def damaged(draw, good):
        document = good
        for _ in range(draw(st.integers(1, 2))):
            place = draw(st.sampled_from(list(_places(document))))
            value = draw(st.sampled_from([*_ODD, ...] if place else _ODD))
            document = _changed(document, place, value)
        return document

    return damaged


@pytest.fixture(scope="session")
def contents():
    """A strategy of bytes that differ from good ones in a few places, or are cut off."""

    @st.composite
    def damaged(draw, good, first=None):
        changed = bytearray(good)
        places = st.integers(0, (first or len(good)) - 1)
        for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
            changed[place] = value
        kept = draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))
        return bytes(changed[:kept]) + draw(st.sampled_from([b"", b"", b"\xff" * 9, b"[" * 5000]))

    return damaged


@pytest.fixture(scope="session")
def harmless():
    """Tries `use` with `examples` of a strategy; all of them must end well."""

    def check(strategy, use, examples):
        @settings(
            max_examples=examples,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            database=None,
            derandomize=True,  # a test that fails by chance says nothing about a change
        )
        @given(strategy)
        def one(example):
            tracemalloc.start()
            begin = time.process_time()
            try:
                use(example)
            except XctvolError as error:
                assert "\n" not in str(error), str(error)  # noqa: PT017 - or no error at all
                assert len(str(error)) < 1500  # noqa: PT017 - as above
            finally:
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            assert peak < _HARMLESS_BYTES
            assert time.process_time() - begin < _SLOWEST_S

        one()

    return check
