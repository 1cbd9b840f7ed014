"""xctvol doctor."""

from pathlib import Path
from typing import Annotated

import typer

from xctvol.cli import options
from xctvol.cli.run import show


def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder you will write to.")] = Path(),
    json: options.Json = False,
) -> None:
    """Say what this machine has, what is missing, and how to get it."""
    from xctvol.stages import doctor as stage

    show(stage.examine(folder), as_json=json)
