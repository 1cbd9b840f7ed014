"""xctvol convert."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xctvol.cli import options, scan
from xctvol.cli.run import carry_out
from xctvol.errors import UsageError
from xctvol.files import states_below
from xctvol.units import format_bytes

if TYPE_CHECKING:
    from xctvol.labels import Labels
    from xctvol.volume import Volume


_MANY_LABELS = 50  # more than anybody tells apart by hand

Where = Annotated[
    str, typer.Argument(help="Folder, 'pattern*.tif' or file of slices.", metavar="SOURCE")
]
Output = Annotated[
    str, typer.Argument(help="Volume to write, here or s3://bucket/SCAN.zarr.", metavar="SCAN.zarr")
]
Greys = Annotated[
    str,
    typer.Option(
        help="Grey values to store as 0..255: none (keep them), MIN,MAX or percentiles of the "
        "whole scan as 0.1%,99.9%."
    ),
]
Compression = Annotated[
    Literal["zstd", "lz4", "none"] | None,
    typer.Option(help="Compression of chunks; by default as fits the type."),
]
AreLabels = Annotated[bool, typer.Option("--labels", help="SOURCE holds labels, not grey values.")]
Binarize = Annotated[
    bool,
    typer.Option("--binarize", help="With --labels: what is not 0 is one material, foreground."),
]
MaskTable = Annotated[
    Path | None, typer.Option(help="With --labels: table of mask values.", metavar="TOML")
]


def convert(  # noqa: PLR0913 - one parameter an option
    source: Where,
    output: Output,
    spacing: options.VoxelSize = None,
    window: Greys = "none",
    codec: Compression = None,
    roi: scan.Roi = None,
    dataset: scan.Dataset = None,
    raw: scan.Raw = None,
    allow_gaps: scan.AllowGaps = False,
    labels: AreLabels = False,
    binarize: Binarize = False,
    materials: MaskTable = None,
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
    """Convert a scan to an OME-Zarr volume, chunked and multiscale."""
    from xctvol.materials import Materials
    from xctvol.stages import convert as stage

    running = options.Running(dry_run, overwrite, json, quiet, workers, 0, cluster, part, memory)
    if not labels and (binarize or materials):
        raise UsageError("--binarize and --materials say what labels mean; add --labels")
    if labels and (codec or window != "none"):
        raise UsageError("--window and --codec are for grey values, and --labels says otherwise")
    voxels = scan.Scan(source, spacing, allow_gaps, dataset, raw, roi).open()
    if labels:
        table = Materials.read(materials) if materials else None
        nonzero = "foreground" if binarize else None
        label_plan = stage.convert_labels(voxels, output, materials=table, nonzero=nonzero)
        carry_out(label_plan, running, _label_facts if table or binarize else _kept_facts)
        return
    carry_out(stage.convert(voxels, output, window=window, codec=codec), running, _facts)


def _facts(volume: "Volume") -> dict[str, Any]:
    stored = sum(nbytes for nbytes, _ in states_below(volume.path).values())
    return {
        "volume": str(volume.path),
        "voxels": " x ".join(map(str, volume.shape)) + f" (z, y, x) {volume.dtype}",
        "voxel size": str(volume.spacing),
        "levels": len(volume.levels),
        "window": str(volume.window) if volume.window else "none",
        **_not_finite(volume),
        "on disk": format_bytes(stored),
    }


def _not_finite(volume: "Volume") -> dict[str, Any]:
    """What became of voxels that are no numbers, where there were such."""
    counts = volume.own.get("not_finite")
    if not counts:
        return {}
    found = f"{counts['nan']} NaN, {counts['infinite']} infinite"
    became = "stored as 0, and as the window's ends" if volume.window else "kept"
    return {"not finite": f"{found}; {became}"}


def _label_facts(labels: "Labels") -> dict[str, Any]:
    return {**_facts(labels.volume), "materials": list(labels.materials.names)}


def _kept_facts(labels: "Labels") -> dict[str, Any]:
    """Those of labels that nobody named, and a warning where they are too many for materials."""
    facts, count = _label_facts(labels), len(labels.materials)
    if count <= _MANY_LABELS:
        return facts
    return {
        **facts,
        "WARNING": f"{count} different labels: is this a grey or smoothed image? --binarize makes "
        "all that is not 0 one material",
    }
