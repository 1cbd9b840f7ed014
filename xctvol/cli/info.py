"""xctvol info."""

from typing import Annotated

import typer

from xctvol.cli import options
from xctvol.cli.run import show


def info(
    path: Annotated[
        str, typer.Argument(help="A volume, model, folder of tables, or the slices of a scan.")
    ],
    json: options.Json = False,
) -> None:
    """Say what something is, how large, and how it was made."""
    from xctvol.stages import info as stage

    show(stage.describe(path), as_json=json)
