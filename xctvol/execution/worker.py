"""Entry of a local worker process: `python -m xctvol.execution.worker SCHEDULER OPTIONS`.

A nanny and its worker that end when the process that started them ends, however it did: its end
of the pipe to their standard input closes.
"""

import asyncio
import json
import os
import sys
import threading
from typing import Any

from distributed import Nanny

__all__ = ["main"]


def main() -> None:
    """Serve the scheduler at the address of the first argument until it, or the parent, is gone."""
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    asyncio.run(_serve(sys.argv[1], json.loads(sys.argv[2])))


async def _serve(scheduler: str, options: dict[str, Any]) -> None:
    async with Nanny(scheduler, **options) as nanny:
        await nanny.finished()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # at once: the nanny's worker watches the nanny in the same way


if __name__ == "__main__":
    main()
