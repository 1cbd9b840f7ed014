"""xctvol jobs."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xctvol.errors import XctvolError

if TYPE_CHECKING:
    from xctvol.execution.slurm import RunFolder

__all__ = ["app", "leave"]

app = typer.Typer(no_args_is_help=True, help="Look after commands that SLURM runs.")
Run = Annotated[Path, typer.Argument(help="Folder of the run, as printed.", metavar="RUN")]
_TAIL_LINES = 30


@app.command()
def status(run: Run) -> None:
    """Say whether the run waits, runs, or how it ended."""
    opened = _open(run)
    print(opened.command)
    waiting = opened.waiting()
    for (state, reason), count in Counter((job.state, job.reason) for job in waiting).items():
        print(f"{state.lower():<10} {count}  {reason}")
    if not waiting:
        print(_ENDS.get(opened.exit_code(), _FAILED) % run)


_FAILED = "failed: xctvol jobs logs %s"
_ENDS = {
    0: "done: %s",
    4: "stopped half-way, nothing is lost: xctvol jobs resume %s",
    130: "interrupted, nothing is lost: xctvol jobs resume %s",
}


@app.command()
def cancel(run: Run) -> None:
    """End the jobs; what they have finished is kept."""
    opened = _open(run)
    opened.cancel()
    print(f"job {', '.join(opened.jobs)} is cancelled; xctvol jobs resume {run} continues it")


@app.command()
def resume(run: Run) -> None:
    """Submit the jobs again; they continue where they were."""
    print(f"job {', '.join(_open(run).resume())} is submitted")


@app.command()
def logs(run: Run) -> None:
    """Print the end of what the jobs and their workers wrote."""
    for path in _open(run).logs():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"== {path}", *lines[-_TAIL_LINES:], sep="\n")


def leave(exit_code: int) -> None:
    """Called as the command ends: a job notes how, or has SLURM start it again.

    Outside of jobs nothing happens.
    """
    from xctvol.execution.slurm import RunFolder

    try:
        run = RunFolder.of_this_job()
        if run is not None:
            run.leave(exit_code)
    except XctvolError as error:  # all that can still be done is to say it
        print(f"xctvol: the end of this job is not noted: {error}", file=sys.stderr)


def _open(run: Path) -> "RunFolder":
    from xctvol.execution.slurm import RunFolder

    return RunFolder.open(run)
