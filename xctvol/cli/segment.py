"""xctvol segment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out

if TYPE_CHECKING:
    from xctvol.labels import Labels


def segment(  # noqa: PLR0913 - one parameter an option
    scan: Annotated[Path, typer.Argument(help="Volume to segment.", metavar="SCAN.zarr")],
    model: Annotated[Path, typer.Argument(help="Trained model.", metavar="MODEL.safetensors")],
    labels: Annotated[str, typer.Option(help="Name of the labels to write.")] = "tissue",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="Arithmetic of the network; auto is fp32 on a CPU, fp16 on a GPU."),
    ] = "auto",
    workers: options.Workers = None,
    gpus: options.Gpus = None,
    cluster: options.Cluster = "local",
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Segment every slice of a volume with a model, into labels beside it."""
    from xctvol.model.devices import gpu_count
    from xctvol.model.file import open_model
    from xctvol.stages.segment import segment as stage
    from xctvol.volume import open_volume

    devices = gpu_count() if gpus is None and workers is None else gpus or 0
    running = options.Running(
        dry_run, overwrite, json, quiet, workers, devices, cluster, part, memory
    )
    device = "cuda" if devices else "cpu"
    volume = open_volume(scan)
    plan = stage(volume, open_model(model), labels=labels, device=device, precision=precision)
    carry_out(plan, running, _facts)


def _facts(labels: "Labels") -> dict[str, Any]:
    counts = labels.volume.own["voxels"]
    total = sum(counts.values())
    shares = [
        f"{m.name}: {counts.get(str(m.label), 0)} voxels, "
        f"{100 * counts.get(str(m.label), 0) / total:.2f} %"
        for m in labels.materials
    ]
    return {"labels": str(labels.volume.path), "materials": shares}
