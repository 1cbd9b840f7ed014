"""A stage's blocks as tasks of a dask cluster, whatever dies of it meanwhile.

Tasks carry paths and numbers, never arrays. A result is on disk before its future is done, and
each future is released at once, so a lost worker costs only the blocks it was working on.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future, get_worker
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from xctvol import stopping
from xctvol.errors import PartialError
from xctvol.grid import Block
from xctvol.journal import Journal
from xctvol.plan import Listener, Progress, Stage, Task, Usage, reporting, run_block

__all__ = ["SETTINGS", "Cluster", "run_blocks"]

SETTINGS = {
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.worker-saturation": 1.0,  # blocks wait for workers, not the other way
    "distributed.worker.memory.spill": False,  # nothing large is ever held in dask
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "60s",
}
_TOPIC = "xctvol"
_SECONDS_BETWEEN_LOOKS = 0.25  # at whether to stop
_SECONDS_WITHOUT_WORKERS = 60.0  # a nanny whose workers die as they start may give up


def _trust() -> None:
    """Workers come, sooner or later, as far as can be seen from here."""


@dataclass(frozen=True)
class Cluster:
    """A client of the scheduler, and what raises PartialError where no worker can ever come."""

    client: Client
    check: Callable[[], None] = _trust


def run_blocks(cluster: Cluster, stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
    """Run the stage's task on every block; raises what the first failing block raised.

    A block whose workers die is accused, and so are those that shared a worker with it. When all
    others are done, each of the accused runs alone. One that kills its workers even then is named
    in a PartialError, after everything else is done. So is the end of the scheduler.
    """
    client = cluster.client
    client.subscribe_topic(_TOPIC, lambda event: listen(_progress(stage, event)))
    try:
        accused = _Round(cluster, stage, listen).run(blocks)
        deadly: list[Block] = []
        for block in accused:
            deadly += _Round(cluster, stage, listen, alone=True).run([block])
    except (CancelledError, CommClosedError) as error:
        raise PartialError(
            f"{stage.name}: the dask scheduler has ended, or is out of reach; what is finished is "
            "kept, run the same command again with a cluster that is there"
        ) from error
    finally:
        client.unsubscribe_topic(_TOPIC)
    if deadly:
        raise PartialError(
            f"{stage.name}: {', '.join(map(stage.name_of, deadly))} killed every worker that took "
            "them, most likely for want of memory; everything else is done and kept, run the same "
            "command with fewer workers or more memory for each"
        )


@dataclass
class _Round:
    """Blocks that are submitted together."""

    cluster: Cluster
    stage: Stage
    listen: Listener
    waiting: dict[Future[Any], Block] = field(default_factory=dict)
    accused: list[Block] = field(default_factory=list)
    alone: bool = False
    seen: float = field(default_factory=time.monotonic)  # when a worker was there

    @property
    def client(self) -> Client:
        return self.cluster.client

    def run(self, blocks: Sequence[Block]) -> list[Block]:
        """Do the blocks; gives those that were being done whenever a worker died."""
        stopping.check()
        task, journal = self.stage.task, self.stage.journal
        # all at once: then the scheduler sees that there are many, and hands them out one by one
        futures = self.client.map(_do, blocks, task=task, journal=journal, pure=False, retries=0)
        self.waiting = dict(zip(futures, blocks, strict=True))
        del futures  # each is dropped when it is done
        try:
            self._settle_all()
        except BaseException:
            self.client.cancel(list(self.waiting), force=True)
            raise
        stopping.check()
        return self.accused

    def _settle_all(self) -> None:
        done: SimpleQueue[Future[Any]] = SimpleQueue()
        for future in self.waiting:
            future.add_done_callback(done.put)
        stopped = False
        while self.waiting:
            if stopping.requested() and not stopped:
                stopped = True
                self._cancel_what_waits()
            try:
                self._settle(done.get(timeout=_SECONDS_BETWEEN_LOOKS))
            except Empty:
                self._look_after_the_cluster()
                self._give_up_where_none_is_left()

    def _look_after_the_cluster(self) -> None:
        if self.client.status == "closed":  # as it does when it has tried for long to reconnect
            raise CommClosedError
        self.cluster.check()

    def _give_up_where_none_is_left(self) -> None:
        """Accuse the block that runs alone, where it has left no worker and none comes back."""
        if not self.alone or self.client.scheduler_info(n_workers=1)["workers"]:
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > _SECONDS_WITHOUT_WORKERS:
            self.accused += self.waiting.values()
            self.client.cancel(list(self.waiting), force=True)
            self.waiting.clear()

    def _cancel_what_waits(self) -> None:
        """Give up the blocks that no worker has taken; the others may still end."""
        taken = {key for keys in self.client.processing().values() for key in keys}
        given_up = [future for future in self.waiting if future.key not in taken]
        for future in given_up:
            del self.waiting[future]
        self.client.cancel(given_up, force=True)

    def _settle(self, future: "Future[Any]") -> None:
        block = self.waiting.pop(future, None)
        if block is None:  # it was given up
            return
        try:
            usage = future.result()
        except KilledWorker:
            self.accused.append(block)
            return
        finally:
            future.release()
        self.listen(Progress(self.stage, block.index, self.stage.units(block), usage=usage))


def _do(block: Block, task: Task, journal: Journal) -> Usage | None:
    """The block's work, on a worker; returns what it took in the end."""
    worker = get_worker()
    last: list[Usage | None] = [None]

    def reporter(done: int, note: str, usage: Usage | None) -> None:
        last[0] = usage
        used = usage and asdict(usage)
        event = {"block": block.index, "done": done, "note": note, "usage": used}
        worker.log_event(_TOPIC, event)

    with reporting(reporter):
        run_block(task, journal, block)
    return last[0]


def _progress(stage: Stage, event: Any) -> Progress:
    _, message = event
    usage = message["usage"] and Usage(**message["usage"])
    return Progress(stage, message["block"], message["done"], message["note"], usage)
