"""xctvol measure."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out
from xctvol.errors import UsageError
from xctvol.locations import located, named
from xctvol.units import micrometres_per

if TYPE_CHECKING:
    from xctvol.labels import Labels
    from xctvol.tables import Tables
    from xctvol.volume import Volume

__all__ = ["measures_beside"]


Labelled = Annotated[
    str | None, typer.Option("--labels", help="Which labels, where the volume has several.")
]
Connectivity = Annotated[
    Literal["6", "18", "26"],
    typer.Option(help="Voxels are connected through faces (6), edges (18), corners (26)."),
]
Measured = Annotated[
    list[str] | None,
    typer.Option(
        "--material", metavar="NAME", help="Measure only this material, or these; by default all."
    ),
]
Tissue = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A material of the tissue that fractions and surface densities refer to; by default "
        "all measured.",
    ),
]
MinVolume = Annotated[
    str | None,
    typer.Option(metavar="10um3", help="Leave smaller regions out of the table of regions."),
]
Intensity = Annotated[
    bool, typer.Option("--intensity", help="Measure the grey values of the scan as well.")
]
Instances = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Write the regions' numbers as a volume NAME.zarr into the folder."
    ),
]
_CONNECTIVITY: Final[dict[str, Literal[6, 18, 26]]] = {"6": 6, "18": 18, "26": 26}


def measure(  # noqa: PLR0913 - one parameter an option
    scan: Annotated[
        str, typer.Argument(help="Volume with labels, or label volume.", metavar="SCAN.zarr")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the tables; by default SCAN-measures beside SCAN.zarr, "
            "or here where that is on S3."
        ),
    ] = None,
    labels: Labelled = None,
    connectivity: Connectivity = "26",
    material: Measured = None,
    tissue: Tissue = None,
    min_volume: MinVolume = None,
    intensity: Intensity = False,
    instances: Instances = None,
    workers: options.Workers = None,
    cluster: options.Cluster = "local",
    profile: options.Profile = None,  # this and wait are read before the verb begins
    wait: options.Wait = False,
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure labels in 3D: materials, slices, interfaces, regions."""
    from xctvol.labels import open_labels
    from xctvol.stages.measure import measure as stage

    running = options.Running(dry_run, overwrite, json, quiet, workers, 0, cluster, part, memory)
    opened = open_labels(scan, labels)
    plan = stage(
        opened,
        output or measures_beside(scan),
        connectivity=_CONNECTIVITY[connectivity],
        materials=tuple(material or ()),
        tissue=tuple(tissue or ()),
        min_volume_um3=parse_volume(min_volume) if min_volume else 0.0,
        intensity=_scan_of(opened) if intensity else None,
        instances=instances,
    )
    carry_out(plan, running, _facts)


def measures_beside(scan: str) -> Path:
    """The folder in which the tables of a volume are looked for where none is named.

    That is beside the volume; here, where it is in a bucket.
    """
    place = located(scan)
    if isinstance(place, Path) and not place.name:  # . is a folder with a name
        place = place.absolute()
    place = named(place, "a volume")
    beside = place.with_name(f"{place.stem}-measures")
    return beside if isinstance(beside, Path) else Path(beside.name)


def parse_volume(text: str) -> float:
    """Read a volume as typed, in um3.

    >>> parse_volume("10um3"), parse_volume("2 mm3")
    (10.0, 2000000000.0)
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*([A-Za-zµμ]+)(?:3|³)\s*", text)
    try:
        return float(match[1]) * micrometres_per(match[2]) ** 3 if match else float("")
    except ValueError:
        raise UsageError(
            f"cannot read the volume {text!r}: write a number and a unit, as in 10um3"
        ) from None


def _scan_of(labels: "Labels") -> "Volume":
    if labels.scan is None:
        raise UsageError(
            f"{labels.volume.path} is a label volume without a scan, so there are no grey values "
            "to measure; leave out --intensity"
        )
    return labels.scan


def _facts(tables: "Tables") -> dict[str, Any]:
    rows = tables.materials.itertuples(index=False)
    lines = [
        f"{row.material}: {row.voxels} voxels, {row.volume_um3:.6g} um3, {row.regions} regions"
        for row in rows
    ]
    facts: dict[str, Any] = {"tables": str(tables.path), "materials": lines}
    if tables.instances is not None:
        facts["instances"] = str(tables.instances)
    return facts
