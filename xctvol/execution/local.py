"""Workers that are processes of this machine, each started again whenever it dies."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from distributed import Client, Scheduler, SpecCluster

from xctvol.errors import PartialError
from xctvol.execution.blocks import Cluster
from xctvol.execution.worker import AT_WORK

__all__ = ["local_cluster"]

_LOOPBACK = "127.0.0.1"  # machines are shared: nobody else may reach the workers
_DASHBOARD = f"{_LOOPBACK}:0"
_TRIES = 5  # what fails so often as it starts is not mended by waiting
_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 60.0
_WORDS_BYTES, _WORDS_LINES = 4096, 3


@contextmanager
def local_cluster(environments: Sequence[Mapping[str, str]], slots: int) -> Iterator[Cluster]:
    """A scheduler in this process, and a worker process with each of the environments.

    Workers are started as commands, not forked or spawned from this process: that works from
    notebooks and from scripts without a main guard, and shares no threads or CUDA state.
    """
    options = {"host": _LOOPBACK, "port": 0, "dashboard_address": _DASHBOARD}
    scheduler = {"cls": Scheduler, "options": options}
    with ExitStack() as stack:
        quiet = {"silence_logs": logging.CRITICAL}
        cluster = stack.enter_context(SpecCluster({}, scheduler, **quiet))
        client = stack.enter_context(Client(cluster, set_as_default=False))
        workers = [
            _LocalWorker(_command(cluster.scheduler_address, number, slots), environment)
            for number, environment in enumerate(environments)
        ]
        for worker in workers:
            stack.enter_context(worker)
        yield Cluster(client, lambda: _refuse_where_none_starts(workers))


def _command(scheduler: str, number: int, slots: int) -> list[str]:
    options = {
        "host": _LOOPBACK,
        "name": number,
        "nthreads": slots,
        "memory_limit": 0,
        "silence_logs": logging.CRITICAL,
        "dashboard_address": _DASHBOARD,
    }
    return [sys.executable, "-m", "xctvol.execution.worker", scheduler, json.dumps(options)]


class _LocalWorker:
    """A worker process that is started again whenever it ends, while this is entered."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.failures = 0
        """How often, since it last was at work, it ended before it was."""
        self.last_words = ""
        self._command, self._environment = command, {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._over, self._starting = threading.Event(), threading.Lock()
        self._keeper = threading.Thread(target=self._keep, name="worker", daemon=True)

    def __enter__(self) -> "_LocalWorker":
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._starting:
            if self._process is not None:
                self._process.kill()
        self._keeper.join()

    def _keep(self) -> None:
        pause_s = 0.0
        while not self._over.wait(pause_s):
            try:
                with tempfile.TemporaryFile() as words:
                    how, said = self._run(words), _end_of(words)
            except OSError as error:  # no more processes, or no place for what it says
                how, said = f"could not be started ({error.strerror})", b""
            self._note_end(how, said)
            pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(self.failures, 10))

    def _run(self, words: IO[bytes]) -> str:
        """Start the process, wait for its end, and say how it ended."""
        with self._starting:
            if self._over.is_set():
                return ""
            self._process = subprocess.Popen(  # noqa: S603 - this package's own module
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,  # closes when this process ends, and ends the worker
                stdout=sys.__stderr__,  # results alone belong to standard output
                stderr=words,
            )
        with self._process as process:
            return _how(process.wait())

    def _note_end(self, how: str, words: bytes) -> None:
        if words.endswith(AT_WORK):
            self.failures = 0
            return
        self.failures += 1
        lines = [line.strip() for line in words.decode(errors="replace").splitlines()]
        said = " | ".join([line for line in lines if line][-_WORDS_LINES:])
        self.last_words = f"{how} and said: {said}" if said else f"{how} and said nothing"


def _end_of(words: IO[bytes]) -> bytes:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - _WORDS_BYTES))
    return words.read()


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _refuse_where_none_starts(workers: Sequence[_LocalWorker]) -> None:
    """Raise PartialError where all workers have died again and again as they started.

    One that was at work before it died does not count, however often that happens: then a block
    is to blame, or somebody who needs the machine.
    """
    if all(worker.failures >= _TRIES for worker in workers):
        raise PartialError(
            f"no worker process can be started: {_TRIES} times in a row each ended before it was "
            f"at work, the last one {workers[-1].last_words}; what is finished is kept, mend that "
            "and run the same command again, or run it with --cluster serial"
        )
