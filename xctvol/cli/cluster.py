"""xctvol cluster."""

from pathlib import Path
from typing import Annotated

import typer

from xctvol.errors import PlanError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Describe the SLURM cluster of this site.")


@app.callback()
def _cluster() -> None:
    """Make `init` a command of its own, although it is the only one."""


@app.command()
def init(
    profile: Annotated[
        Path | None, typer.Argument(help="File to write; xctvol-cluster.toml.", metavar="TOML")
    ] = None,
) -> None:
    """Write a commented site profile, to be edited once."""
    from xctvol.execution.slurm import FILE_NAME, TEMPLATE
    from xctvol.files import write_atomic

    path = profile or Path(FILE_NAME)
    if path.exists():
        raise PlanError(f"{path} exists; edit it, or name another file")
    write_atomic(path, TEMPLATE.encode())
    print(f"{path} is written; edit it, then add --cluster slurm to a command")
