"""xctvol train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctvol.cli import learning, options
from xctvol.cli.run import carry_out

if TYPE_CHECKING:
    from xctvol.model.file import Model

Replicates = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Independent models, with other seeds and splits; by default 1, and one for each scan "
        "that is left out.",
    ),
]


def train(  # noqa: PLR0913 - one parameter an option
    pairs: learning.PairsFolder,
    materials: options.MaterialsFile,
    output: Annotated[Path, typer.Option(help="Model file to write.", metavar="MODEL.safetensors")],
    architecture: learning.Architecture = "fcn_resnet101",
    weights: learning.Weights = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the training slices. By default as many as make 4000 steps for unet, "
            "otherwise 100.",
        ),
    ] = None,
    patience: learning.Patience = None,
    replicates: Replicates = None,
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
    split: learning.SplitBy = "slice",
    spacing: options.VoxelSize = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    gpus: options.Gpus = None,
    cluster: options.Cluster = "serial",
    profile: options.Profile = None,  # this and wait are read before the verb begins
    wait: options.Wait = False,
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model on a few annotated slices."""
    from xctvol.pairs import open_pairs
    from xctvol.stages.train import train as stage
    from xctvol.units import parse_spacing

    where = "local" if gpus and cluster == "serial" else cluster
    running = options.Running(
        dry_run, overwrite, json, quiet, workers, gpus or 0, where, part, memory
    )
    plan = stage(
        open_pairs(pairs, materials), output,
        architecture=architecture, weights=weights, epochs=epochs, patience=patience,
        replicates=replicates, seed=seed, crop=crop, batch=batch, scale=scale, loss=loss,
        accumulate=accumulate, checkpointing=checkpointing, learning_rate=learning_rate,
        schedule=schedule, jitter=jitter, validation=validation, split=split, device=device,
        spacing=None if spacing is None else parse_spacing(spacing),
    )  # fmt: skip  # the options as above, side by side
    carry_out(plan, running, _facts)


def _facts(models: "tuple[Model, ...]") -> dict[str, Any]:
    lines = []
    for model in models:
        training = model.card.training
        assert training is not None
        score = training.scores[training.kept]
        lines.append(
            f"{model.path}: best epoch {training.best_epoch}, macro-F1 {score:.4f} on validation"
        )
    return {"models": lines}
