"""The reference executor: this process."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from xctvol import stopping
from xctvol.grid import Block
from xctvol.plan.stage import Listener, Run, Stage, do_block
from xctvol.resources import available_memory

__all__ = ["Serial"]


@dataclass(frozen=True)
class Serial:
    """Blocks one after the other in this process, or as many at a time as the stage has slots."""

    memory_limit: int | None = None

    @property
    def workers(self) -> int:
        return 1

    @property
    def memory(self) -> int | None:
        return available_memory() if self.memory_limit is None else self.memory_limit

    def session(self, _: int) -> AbstractContextManager[Run]:
        return nullcontext(_run)


def _run(stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
    if stage.slots == 1:
        for block in blocks:
            do_block(stage, block, listen)
        return
    pool = ThreadPoolExecutor(stage.slots, thread_name_prefix=stage.name)
    try:
        futures = [pool.submit(do_block, stage, block, listen) for block in blocks]
        for future in as_completed(futures):
            future.result()
    finally:  # waits for what is under way, which is finished and kept, unless time is up
        pool.shutdown(wait=not stopping.overdue(), cancel_futures=True)
