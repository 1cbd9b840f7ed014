"""Work on parts of one array side by side: compression and numpy release the interpreter's lock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from xctvol.resources import thread_budget

__all__ = ["in_threads"]

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """What `work` makes of each part, in order; raises what a part raised.

    `work` must not call this again: its threads would wait for each other.
    """
    if len(parts) <= 1 or thread_budget() == 1:
        return [work(part) for part in parts]
    return list(_pool().map(work, parts))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_budget(), thread_name_prefix="volume")
