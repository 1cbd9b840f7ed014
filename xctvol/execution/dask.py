"""Blocks on worker processes of this machine, or on any dask cluster."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import dask
from distributed import Client
from distributed.utils import silence_logging_cmgr

from xctvol.errors import InputError, UsageError
from xctvol.execution.blocks import SETTINGS, Cluster, run_blocks
from xctvol.execution.local import local_cluster
from xctvol.grid import Block
from xctvol.plan import Listener, Run, Stage
from xctvol.resources import available_memory, thread_budget

__all__ = ["Dask"]

T = TypeVar("T")


@dataclass(frozen=True)
class Dask:
    """Runs blocks on `workers` local processes, or on the cluster at `address`.

    With `gpus`, there is one process for each of the first `gpus` devices, which sees no other. A
    process has as many blocks under way as the stage has slots. `address` is a scheduler's address
    (tcp://...) or scheduler file (.json); then the cluster says how many workers there are, and
    each has as many blocks under way as it has threads.
    """

    workers: int = 1
    gpus: int = 0
    address: str | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"{self.workers} workers cannot do anything; use 1 or more")
        if self.gpus < 0:
            raise UsageError(f"{self.gpus} GPUs are not possible; use 0 or more")
        if self.gpus and self.workers not in (1, self.gpus):
            raise UsageError(
                f"{self.workers} workers and {self.gpus} GPUs contradict each other, as each GPU "
                "has one worker; leave out workers"
            )
        if self.gpus:
            object.__setattr__(self, "workers", self.gpus)

    @property
    def memory(self) -> int | None:
        if self.memory_limit is not None:
            return self.memory_limit
        return available_memory() if self.address is None else None

    @contextmanager
    def session(self, slots: int) -> Iterator[Run]:
        """Runs stages on one cluster, which is started for the first block there is to do."""
        with ExitStack() as stack:
            clusters: list[Cluster] = []

            def run(stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
                if blocks and not clusters:
                    stack.enter_context(dask.config.set(SETTINGS))
                    clusters.append(stack.enter_context(self._cluster(slots)))
                if blocks:
                    run_blocks(clusters[0], stage, blocks, listen)

            yield run

    def ask(self, question: Callable[[], T]) -> list[T]:
        """What each worker that the cluster has now answers; none where it has no workers yet."""
        with self._cluster(1) as cluster:
            client = cluster.client
            workers = client.scheduler_info(n_workers=-1)["workers"]
            answers = [client.submit(question, workers=[name], pure=False) for name in workers]
            return list(client.gather(answers))

    @contextmanager
    def _cluster(self, slots: int) -> Iterator[Cluster]:
        if self.address is None:
            environments = [self._environment(number) for number in range(self.workers)]
            with local_cluster(environments, slots) as cluster:
                yield cluster
        else:
            # what it logs of a scheduler that has ended, an error says in one line
            quiet = silence_logging_cmgr(logging.CRITICAL, root="distributed.client")
            with quiet, _connected(self.address) as client:
                yield Cluster(client)

    def _environment(self, number: int) -> dict[str, str]:
        threads = str(max(1, thread_budget() // self.workers))
        environment = {
            "OMP_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
        }
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = _visible_gpus(self.gpus)[number]
        return environment


def _connected(address: str) -> Client:
    """A client of the scheduler at `address`, or of the one whose file it is."""
    try:
        if not address.endswith(".json"):
            return Client(address, set_as_default=False)
        if not Path(address).exists():  # a client would wait for it for ever
            raise InputError(f"{address} does not exist; it should be a dask scheduler's file")
        return Client(scheduler_file=address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"no dask scheduler answers at {address}: {error}") from error


def _visible_gpus(count: int) -> list[str]:
    """Names of the first `count` GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count)]
    names = visible.split(",") if visible else []
    if len(names) < count:
        raise UsageError(f"{count} GPUs were asked for, but CUDA_VISIBLE_DEVICES is {visible!r}")
    return names
