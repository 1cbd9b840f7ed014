"""xctvol measure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out

if TYPE_CHECKING:
    from xctvol.tables import Tables


_CONNECTIVITY: Final[dict[str, Literal[6, 18, 26]]] = {"6": 6, "18": 18, "26": 26}


def measure(  # noqa: PLR0913 - one parameter an option
    scan: Annotated[
        Path, typer.Argument(help="Volume with labels, or label volume.", metavar="SCAN.zarr")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the tables; by default SCAN-measures beside SCAN.zarr."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Which labels, where the volume has several.")
    ] = None,
    connectivity: Annotated[
        Literal["6", "18", "26"],
        typer.Option(help="Voxels are connected through faces (6), edges (18), corners (26)."),
    ] = "26",
    workers: options.Workers = None,
    cluster: options.Cluster = "local",
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure labels in 3D: materials, slices, interfaces and every connected region."""
    from xctvol.labels import open_labels
    from xctvol.stages.measure import measure as stage

    running = options.Running(dry_run, overwrite, json, quiet, workers, 0, cluster, part, memory)
    folder = output or measures_beside(scan)
    plan = stage(open_labels(scan, labels), folder, connectivity=_CONNECTIVITY[connectivity])
    carry_out(plan, running, _facts)


def measures_beside(scan: Path) -> Path:
    """The folder in which the tables of a volume are looked for where none is named."""
    return scan.with_name(f"{scan.stem}-measures")


def _facts(tables: "Tables") -> dict[str, Any]:
    rows = tables.materials.itertuples(index=False)
    lines = [
        f"{row.material}: {row.voxels} voxels, {row.volume_um3:.6g} um3, {row.regions} regions"
        for row in rows
    ]
    return {"tables": str(tables.path), "materials": lines}
