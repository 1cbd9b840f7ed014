"""Blocks on the nodes of the SLURM job that this process is the batch step of.

The scheduler lives in this process. One `srun` keeps a worker in each of the job's tasks: each
task, and the step as a whole, is started again for as long as the scheduler file is there.
"""

import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client, Scheduler, SpecCluster

from xctvol import stopping
from xctvol.errors import UsageError, XctvolError
from xctvol.execution.blocks import SETTINGS, Cluster, run_blocks
from xctvol.execution.slurm import Profile, RunFolder
from xctvol.files import write_json
from xctvol.grid import Block
from xctvol.plan import Listener, Run, Stage

__all__ = ["Allocation"]

_LOOPBACK = "127.0.0.1"
_SETTINGS = SETTINGS | {
    "distributed.scheduler.worker-ttl": "60s",  # hosts that dropped off are noticed
    "distributed.scheduler.allowed-failures": 5,  # nodes are lost more often than processes
}
_STEPS_WITHOUT_WORKERS = 3  # srun that ends at once is wrongly asked
_SECONDS_FOR_WORKERS = 900
_SECONDS_BETWEEN_STEPS = 2.0
_SECONDS_TO_END = 5.0
# $0 is the scheduler file: while it is there the work is not done, whatever ended the worker.
# No nanny, which would do the same, and have memory given back to the system with each array
_KEEP_A_WORKER = 'while [ -e "$0" ]; do "$@" %s; sleep 1; done'


@dataclass(frozen=True)
class Allocation:
    """Runs blocks on one worker in each task of the job of `run`."""

    run: RunFolder

    @classmethod
    def of_this_job(cls) -> "Allocation":
        run = RunFolder.of_this_job()
        if run is None or "SLURM_JOB_ID" not in os.environ:
            raise UsageError(
                "--cluster allocation is for jobs that --cluster slurm has submitted; use that"
            )
        return cls(run)

    @property
    def workers(self) -> int:
        return self.run.profile.workers

    @property
    def memory(self) -> int | None:
        return None  # SLURM decides on each node

    @contextmanager
    def session(self, slots: int, /) -> Iterator[Run]:
        """Runs stages on workers that are started for the first block there is to do."""
        with ExitStack() as stack:
            clients: list[Client] = []

            def run(stage: Stage, blocks: Sequence[Block], listen: Listener) -> None:
                if blocks and not clients:
                    clients.append(stack.enter_context(self._client(slots)))
                if blocks:
                    run_blocks(Cluster(clients[0]), stage, blocks, listen)

            yield run

    @contextmanager
    def _client(self, slots: int) -> Iterator[Client]:
        profile = self.run.profile
        options: dict[str, Any] = {"port": 0, "dashboard_address": f"{_LOOPBACK}:0"}
        scheduler = {"cls": Scheduler, "options": options | _listening(profile)}
        with ExitStack() as stack:
            stack.enter_context(dask.config.set(_SETTINGS))
            cluster = stack.enter_context(SpecCluster({}, scheduler, silence_logs=logging.ERROR))
            address = cluster.scheduler_address
            write_json(self.run.scheduler_file, {"address": address})
            client = stack.enter_context(Client(cluster, set_as_default=False))
            step = stack.enter_context(_Step(_srun(self.run, address, slots)))
            stack.callback(self.run.scheduler_file.unlink, missing_ok=True)  # first: they may end
            _wait_for_a_worker(client, step, self.run)
            yield client


def _listening(profile: Profile) -> dict[str, str]:
    """Where the scheduler listens: never on more than one address of its node."""
    if profile.interface is not None:
        return {"interface": profile.interface}
    if _one_node():
        return {"host": _LOOPBACK}
    return {"host": socket.gethostbyname(os.environ["SLURMD_NODENAME"])}


def _one_node() -> bool:
    return os.environ.get("SLURM_JOB_NUM_NODES") == "1"


def _srun(run: RunFolder, address: str, slots: int) -> list[str]:
    """The command that keeps a worker in each task; SLURM gives each the GPU that it sees."""
    profile = run.profile
    if profile.interface is not None:
        listening = f"--interface {shlex.quote(profile.interface)}"
    else:
        listening = f"--host {_LOOPBACK}" if _one_node() else '--host "$SLURMD_NODENAME"'
    worker = [
        *(sys.executable, "-P", "-m", "distributed.cli.dask_worker", address),
        *(f"--nthreads={slots}", "--no-nanny", "--memory-limit=0"),
        *("--no-dashboard", "--death-timeout=300"),
        *([f"--local-directory={profile.scratch}"] if profile.scratch else []),
    ]
    logs = str(run.path).replace("%", "%%") + "/worker-%t.txt"
    return [
        *("srun", "--overlap", "--open-mode=append", f"--output={logs}", "--input=none"),
        *(f"--ntasks={profile.workers}", f"--cpus-per-task={profile.cpus}"),
        *([profile.gpu] if profile.gpu else []),
        *([profile.bind] if profile.bind else []),
        *("sh", "-c", _KEEP_A_WORKER % listening, str(run.scheduler_file), *worker),
    ]


def _wait_for_a_worker(client: Client, step: "_Step", run: RunFolder) -> None:
    """Return when there is a worker; raises XctvolError where none can be expected."""
    end = time.monotonic() + _SECONDS_FOR_WORKERS
    while not client.scheduler_info(n_workers=1)["workers"]:
        stopping.check()
        if step.ended >= _STEPS_WITHOUT_WORKERS or time.monotonic() > end:
            raise XctvolError(
                f"no worker could be started in job {os.environ['SLURM_JOB_ID']}; see the logs in "
                f"{run.path} for what srun or the workers say"
            )
        time.sleep(0.2)


class _Step:
    """`srun` again and again, while it is entered."""

    def __init__(self, command: list[str]) -> None:
        self.ended = 0
        self._command = command
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name="srun", daemon=True)

    def __enter__(self) -> "_Step":
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._process is not None:
            self._process.terminate()
        self._keeper.join(_SECONDS_TO_END)
        if self._keeper.is_alive() and self._process is not None:
            self._process.kill()

    def _keep(self) -> None:
        while not self._over.is_set():
            with subprocess.Popen(self._command) as self._process:  # noqa: S603 - SLURM's srun
                pass
            self.ended += 1
            self._over.wait(_SECONDS_BETWEEN_STEPS)
