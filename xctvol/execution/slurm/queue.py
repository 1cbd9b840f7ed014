"""SLURM's own commands, no more of them than every site has: sbatch, squeue, scancel, scontrol."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xctvol.errors import XctvolError

__all__ = ["Waiting", "cancel", "queued", "requeue", "sbatch"]

_TIMEOUT_S = 60


@dataclass(frozen=True)
class Waiting:
    """A job, or a task of an array, that the queue knows and that has not ended."""

    job: str
    state: str
    reason: str


def sbatch(script: Path, after: str | None = None) -> str:
    """Submit a script from its own folder, to start when job `after` has ended; gives its id."""
    dependency = [] if after is None else [f"--dependency=afterany:{after}"]
    answer = _call(["sbatch", "--parsable", *dependency, script.name], script.parent)
    return answer.strip().split(";")[0]  # a federation adds ;cluster


def queued(jobs: Sequence[str]) -> list[Waiting]:
    """Those of the jobs, and their tasks, that have not ended."""
    answer = _call(["squeue", "--noheader", "--me", "--format=%F|%i|%T|%R"])
    rows = [line.split("|", 3) for line in answer.splitlines()]
    return [Waiting(*row[1:]) for row in rows if row[0] in jobs]


def cancel(jobs: Sequence[str]) -> None:
    _call(["scancel", *jobs])


def requeue(job: str) -> None:
    """Have this job start again from the beginning, later; SLURM may end it at once."""
    _call(["scontrol", "requeue", job])


def _call(command: list[str], folder: Path | None = None) -> str:
    try:
        run = subprocess.run(  # noqa: S603 - SLURM's commands, found where the site put them
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise XctvolError(
            f"there is no {command[0]} here; --cluster slurm is for a login node of a SLURM cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise XctvolError(f"SLURM did not answer {command[0]} within {_TIMEOUT_S} s") from None
    if run.returncode:
        raise XctvolError(f"{command[0]}: {run.stderr.strip() or 'SLURM refused'}")
    return run.stdout
