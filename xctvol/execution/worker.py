"""Entry of a local worker process: `python -m xctvol.execution.worker SCHEDULER OPTIONS`.

It works until the scheduler, or the process that started it, ends, however they did: the other
end of the pipe to its standard input closes. What it has to say before it is at work goes to
standard error, and ends with AT_WORK; from then on to where standard output goes.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from typing import Any

from distributed import Worker, WorkerPlugin

__all__ = ["AT_WORK", "main"]

AT_WORK = b"\0at work"
_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def main() -> None:
    """Serve the scheduler at the address of the first argument until it, or the parent, is gone."""
    for number in _OURS:  # for the parent, if sent to the whole group: it lets blocks end
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    asyncio.run(_serve(sys.argv[1], json.loads(sys.argv[2])))
    os._exit(0)  # at once: a block that was given up may still be at work


async def _serve(scheduler: str, options: dict[str, Any]) -> None:
    """Raises OSError where there is no scheduler any more."""
    async with Worker(scheduler, plugins=(_AtWork(),), **options) as worker:
        await worker.finished()


class _AtWork(WorkerPlugin):
    """Says that this worker is at work just before it can get any: its first block may kill it."""

    def setup(self, worker: Worker) -> None:
        sys.stderr.flush()
        os.write(2, AT_WORK)
        os.dup2(1, 2)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
