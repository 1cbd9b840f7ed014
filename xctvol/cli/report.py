"""xctvol report."""

from pathlib import Path
from typing import Annotated

import typer

from xctvol.cli import options
from xctvol.cli.measure import measures_beside
from xctvol.cli.run import carry_out


def report(  # noqa: PLR0913 - one parameter an option
    scan: Annotated[str, typer.Argument(help="Segmented volume.", metavar="SCAN.zarr")],
    output: Annotated[Path, typer.Argument(help="HTML file to write.", metavar="REPORT.html")],
    labels: Annotated[
        str | None, typer.Option(help="Which labels, where the volume has several.")
    ] = None,
    measures: Annotated[
        Path | None,
        typer.Option(help="Folder of tables; by default SCAN-measures where it exists."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Folder that xctvol evaluate wrote, for F1 in the table.")
    ] = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show a segmented scan and its measurements in one HTML file."""
    from xctvol.labels import open_labels
    from xctvol.stages.report import report as stage
    from xctvol.tables import open_tables
    from xctvol.volume import open_volume

    running = options.Running(dry_run, overwrite, json, quiet)
    beside = measures_beside(scan)
    folder = measures or (beside if beside.exists() else None)
    plan = stage(
        open_volume(scan),
        open_labels(scan, labels),
        output,
        tables=open_tables(folder) if folder else None,
        scores=scores,
    )
    carry_out(plan, running, lambda path: {"report": str(path)})
