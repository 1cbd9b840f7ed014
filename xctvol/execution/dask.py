"""Blocks as dask tasks: on worker processes of this machine, or on any dask cluster.

Tasks carry paths and numbers, never arrays. A result is on disk before its future is done, and
each future is released at once, so a lost worker costs only the blocks it was working on.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client, Future, Scheduler, SpecCluster, as_completed, get_worker
from distributed.deploy.subprocess import Subprocess
from distributed.scheduler import KilledWorker

from xctvol.errors import PartialError, UsageError
from xctvol.grid import Block
from xctvol.journal import Journal
from xctvol.plan import Listener, Progress, Run, Stage, Task, reporting, run_block
from xctvol.resources import available_memory, thread_budget

__all__ = ["Dask"]

_TOPIC = "xctvol"
_LOOPBACK = "127.0.0.1"  # machines are shared: nobody else may reach the workers
_SLOTS_PER_GPU = 2  # one keeps a GPU 56 % busy, two 99 %
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 3,
    "distributed.worker.memory.spill": False,  # nothing large is ever held in dask
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "60s",
}


@dataclass(frozen=True)
class Dask:
    """Runs blocks on `workers` local processes, or on the cluster at `address`.

    With `gpus`, there is one process for each of the first `gpus` devices, which sees no other and
    works on two blocks at a time: one is read or written while the other is on the device.
    `address` is a scheduler's address (tcp://...) or scheduler file (.json); then the cluster
    says how many workers there are.
    """

    workers: int = 1
    gpus: int = 0
    address: str | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.gpus < 0:
            raise UsageError(f"{self.workers} workers cannot do anything; use 1 or more")
        if self.gpus:
            object.__setattr__(self, "workers", self.gpus * _SLOTS_PER_GPU)

    @property
    def memory(self) -> int | None:
        if self.memory_limit is not None:
            return self.memory_limit
        return available_memory() if self.address is None else None

    @contextmanager
    def session(self) -> Iterator[Run]:
        """Runs stages on one cluster, which is started for the first block there is to do."""
        with ExitStack() as stack:
            clients: list[Client] = []

            def run(stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
                if blocks and not clients:
                    stack.enter_context(dask.config.set(_SETTINGS))
                    clients.append(stack.enter_context(self._client()))
                if blocks:
                    _run(clients[0], stage, blocks, listen)

            yield run

    @contextmanager
    def _client(self) -> Iterator[Client]:
        if self.address is None:
            with self._cluster() as cluster, Client(cluster, set_as_default=False) as client:
                yield client
        elif self.address.endswith(".json"):
            with Client(scheduler_file=self.address, set_as_default=False) as client:
                yield client
        else:
            with Client(self.address, set_as_default=False) as client:
                yield client

    def _cluster(self) -> SpecCluster:
        """A scheduler in this process and workers, all on the loopback interface.

        Workers are started as commands, not forked or spawned from this process: that works from
        notebooks and from scripts without a main guard, and shares no threads or CUDA state.
        """
        workers = {
            number: {
                "cls": _LocalWorker,
                "options": {
                    "nanny": {
                        "host": _LOOPBACK,
                        "nthreads": _SLOTS_PER_GPU if self.gpus else 1,
                        "env": self._environment(number),
                        "memory_limit": 0,
                        "silence_logs": logging.CRITICAL,
                        "dashboard_address": f"{_LOOPBACK}:0",
                    },
                },
            }
            for number in range(self.gpus or self.workers)
        }
        scheduler = {
            "cls": Scheduler,
            "options": {"host": _LOOPBACK, "port": 0, "dashboard_address": f"{_LOOPBACK}:0"},
        }
        return SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL)

    def _environment(self, number: int) -> dict[str, str]:
        threads = str(max(1, thread_budget() // self.workers))
        environment = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(number)
        return environment


class _LocalWorker(Subprocess):
    """A worker process as distributed's clusters hold them; see `xctvol.execution.worker`."""

    def __init__(self, scheduler: str, name: int, nanny: dict[str, Any]) -> None:
        self._arguments = (scheduler, json.dumps({"name": name, **nanny}))
        super().__init__()

    async def _start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "xctvol.execution.worker",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,  # closes when this process ends, and ends the worker
        )


def _run(client: Client, stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
    """Run the stage's task on every block; raises what the first failing block raised."""
    client.subscribe_topic(_TOPIC, lambda event: listen(_progress(stage, event)))
    futures = [
        client.submit(_do, stage.task, stage.journal, block, pure=False, retries=0)
        for block in blocks
    ]
    waiting = dict(zip((future.key for future in futures), blocks, strict=True))
    completed = as_completed(futures, loop=client.loop)
    del futures  # as_completed holds the only references, and drops each when it is done
    try:
        for future in completed:
            _settle(future, stage, waiting.pop(future.key), listen)
    except BaseException:
        client.cancel(list(completed.futures), force=True)
        raise
    finally:
        client.unsubscribe_topic(_TOPIC)


def _do(task: Task, journal: Journal, block: Block) -> None:
    worker = get_worker()

    def reporter(done: int, note: str) -> None:
        worker.log_event(_TOPIC, {"block": block.index, "done": done, "note": note})

    with reporting(reporter):
        run_block(task, journal, block)


def _progress(stage: Stage, event: Any) -> Progress:
    _, message = event
    return Progress(stage, message["block"], message["done"], message["note"])


def _settle(future: Future[None], stage: Stage, block: Block, listen: Listener) -> None:
    try:
        future.result()
    except KilledWorker as error:
        raise PartialError(
            f"{stage.name}: block {block.index} killed every worker that took it, "
            f"{_SETTINGS['distributed.scheduler.allowed-failures']} in all, most likely for want "
            "of memory; finished blocks are kept, run the same command with fewer workers"
        ) from error
    finally:
        future.release()
    listen(Progress(stage, block.index, stage.units(block)))
