"""xctvol segment."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xctvol.cli import options
from xctvol.cli import scan as scans
from xctvol.cli.run import carry_out
from xctvol.errors import UsageError
from xctvol.materials import UNLABELLED

if TYPE_CHECKING:
    from xctvol.labels import Labels

Precision = Annotated[
    Literal["auto", "fp32", "tf32", "bf16", "fp16"],
    typer.Option(help="Arithmetic of the network; auto is fp32 on a CPU, fp16 on a GPU."),
]
Probabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities", help="Write those of each material, and the margin, as images."
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(help="Label only voxels that are not 0 in these labels.", metavar="LABELS"),
]
SkipBelow = Annotated[
    float | None,
    typer.Option(
        help="Leave out slices without any grey value above this, in the grey values of the scan "
        "before --window.",
        metavar="GREY",
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse a scan unlike those the model was trained on."),
]


def segment(  # noqa: PLR0913 - one parameter an option
    scan: Annotated[str, typer.Argument(help="Volume to segment.", metavar="SCAN.zarr")],
    models: Annotated[
        list[Path],
        typer.Argument(help="Trained models; several decide together.", metavar="MODEL..."),
    ],
    labels: Annotated[str, typer.Option(help="Name of the labels to write.")] = "tissue",
    precision: Precision = "auto",
    decode: options.Decode = None,
    probabilities: Probabilities = False,
    strict: Strict = False,
    roi: scans.Roi = None,
    mask: Mask = None,
    skip_below: SkipBelow = None,
    workers: options.Workers = None,
    gpus: options.Gpus = None,
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
    """Label every slice of a volume with a model, or with several."""
    from xctvol.labels import open_labels
    from xctvol.model.file import open_model
    from xctvol.stages.segment import Where
    from xctvol.stages.segment import segment as stage
    from xctvol.volume import open_volume

    running = options.Running(dry_run, overwrite, json, quiet, workers, 0, cluster, part, memory)
    running = replace(running, gpus=_gpus(running, gpus))
    volume = open_volume(scan)
    where = Where(
        scans.parse_box(roi, volume.shape) if roi else None,
        open_labels(scan, mask) if mask else None,
        skip_below,
    )
    plan = stage(
        volume,
        [open_model(model) for model in models],
        labels=labels,
        device="cuda" if running.gpus else "cpu",
        precision=precision,
        where=where,
        decode=decode,
        probabilities=probabilities,
        strict=strict,
    )
    carry_out(plan, running, _facts)


def _gpus(running: options.Running, asked: int | None) -> int:
    """How many GPUs predict, here or on the workers of somebody's cluster; 0 for processors."""
    from xctvol.model.devices import gpu_count

    if running.address is not None:
        return _gpus_at(running.address) if asked is None else asked
    here = gpu_count()
    if asked is None:
        return here if running.workers is None else 0
    if asked > here:
        raise UsageError(f"--gpus {asked}: torch sees {here} here; use fewer, or `xctvol doctor`")
    return asked


def _gpus_at(address: str) -> int:
    """How many workers of a dask cluster have a GPU, which must be all of them or none."""
    from xctvol.execution import Dask
    from xctvol.model.devices import gpu_count

    found = [min(1, count) for count in Dask(address=address).ask(gpu_count)]
    if not found or min(found) < max(found):
        raise UsageError(
            f"{address} has {len(found)} workers, {sum(found)} of them with a GPU: say what all "
            "are to predict on, --gpus 1 for a GPU each, or --gpus 0"
        )
    return sum(found)


def _facts(labels: "Labels") -> dict[str, Any]:
    counts = labels.volume.own["voxels"]
    total = sum(counts.values())
    named = {str(m.label): m.name for m in labels.materials}
    if UNLABELLED in map(int, counts):
        named[str(UNLABELLED)] = "unlabelled"
    shares = [
        f"{name}: {counts.get(label, 0)} voxels, {100 * counts.get(label, 0) / total:.2f} %"
        for label, name in named.items()
    ]
    return {"labels": str(labels.volume.path), "materials": shares, **_agreement(labels)}


def _agreement(labels: "Labels") -> dict[str, Any]:
    share = labels.volume.own.get("agreement_with_fp32")
    return {} if share is None else {"equal to fp32": f"{100 * share:.3f} % of a few slices"}
