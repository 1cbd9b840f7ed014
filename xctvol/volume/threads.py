"""Work on parts of one array side by side: compression and numpy release the interpreter's lock.

There are two pools, so that work on large parts (shards) may itself share out small ones (rows of
chunks): only the threads of the outer pool ever wait for others.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import islice
from typing import TypeVar

from xctvol.resources import thread_budget

__all__ = ["in_threads", "in_turn"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # parts a thread: enough to keep all of them busy


def in_threads(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """What `work` makes of each part, in order.

    Raises what a part raised, once no other is at work.
    `work` must not call this again: its threads would wait for each other.
    """
    if len(parts) <= 1 or thread_budget() == 1:
        return [work(part) for part in parts]
    futures = [_pool("volume").submit(work, part) for part in parts]
    try:
        return [future.result() for future in futures]
    finally:
        _end(futures)


def in_turn(work: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
    """What `work` makes of each part, in order, a few parts ahead of who asks for them.

    `work` must neither call this again nor `in_threads`; it may be called within the latter.
    """
    coming = iter(parts)
    threads = thread_budget()
    if threads == 1:
        yield from map(work, coming)
        return
    submit = _pool("chunks").submit
    waiting: deque[Future[R]] = deque()
    try:
        waiting.extend(submit(work, part) for part in islice(coming, _AHEAD * threads))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(submit(work, part) for part in islice(coming, 1))
            yield done
    finally:
        _end(waiting)


def _end(futures: Collection[Future[R]]) -> None:
    """Begin no other part, and wait for those under way: they use arrays of who has failed."""
    wait([future for future in futures if not future.cancel()])


@cache
def _pool(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_budget(), thread_name_prefix=name)
