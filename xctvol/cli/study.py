"""xctvol study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xctvol.cli import learning, options
from xctvol.cli.run import carry_out
from xctvol.errors import UsageError

if TYPE_CHECKING:
    from xctvol.studies import Study


def study(  # noqa: PLR0913 - one parameter an option
    pairs: learning.PairsFolder,
    materials: options.MaterialsFile,
    held_out: Annotated[
        Path,
        typer.Option(help="Folder of pairs like PAIRS, to score all models on.", metavar="PAIRS"),
    ],
    output: Annotated[Path, typer.Option(help="Folder for table and figures.", metavar="DIR")],
    scans: Annotated[
        str, typer.Option(help="How many scans to annotate (slices, where all are of one scan).")
    ] = "1,2,3,4,5",
    epochs: Annotated[str, typer.Option(help="How many epochs to train.")] = "10,25,50,100,200",
    replicates: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 10,
    architecture: learning.Architecture = "fcn_resnet101",
    weights: learning.Weights = None,
    patience: learning.Patience = None,
    seed: learning.Seed = 0,
    crop: learning.Crop = None,
    batch: learning.Batch = None,
    scale: learning.Scale = 1.0,
    accumulate: learning.Accumulate = 1,
    checkpointing: learning.Checkpointing = False,
    loss: learning.Loss = None,
    learning_rate: learning.LearningRate = None,
    schedule: learning.Schedule = None,
    jitter: learning.Jitter = 0.0,
    validation: learning.Validation = None,
    split: Annotated[
        Literal["slice", "scan"],
        typer.Option(help="Keep slices, or all slices of a scan, to choose the best epoch."),
    ] = "slice",
    device: options.Device = "auto",
    workers: options.Workers = None,
    gpus: options.Gpus = None,
    cluster: options.Cluster = "serial",
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find out whether more annotation or more epochs would help.

    Many trainings, one table of their scores, and two figures.
    """
    from xctvol.pairs import open_pairs
    from xctvol.studies import study as stage

    at = "local" if gpus and cluster == "serial" else cluster
    running = options.Running(dry_run, overwrite, json, quiet, workers, gpus or 0, at, part, memory)
    plan = stage(
        open_pairs(pairs, materials), open_pairs(held_out, materials), output,
        scans=_numbers("scans", scans), epochs=_numbers("epochs", epochs),
        replicates=replicates, architecture=architecture, weights=weights, patience=patience,
        seed=seed, crop=crop, batch=batch, scale=scale, accumulate=accumulate,
        checkpointing=checkpointing, loss=loss, learning_rate=learning_rate, schedule=schedule,
        jitter=jitter, validation=validation, split=split, device=device,
    )  # fmt: skip  # the options as above, side by side
    carry_out(plan, running, _facts)


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"cannot read --{name} {text!r}: write numbers as 1,2,3") from None


def _facts(study: "Study") -> dict[str, Any]:
    best = study.best
    return {
        "study": str(study.path),
        "macro-F1": [
            f"{annotated} {study.unit}, {epochs} epochs: {mean.value:.4f}"
            + (f" +- {mean.margin:.4f}" if mean.count > 1 else "")
            for (annotated, epochs), mean in study.macro_f1().items()
        ],
        "best": f"{study.model} ({best.annotated} {study.unit}, {best.epochs} epochs, replicate "
        f"{best.replicate})",
    }
