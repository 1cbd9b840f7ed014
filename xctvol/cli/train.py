"""xctvol train."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out

if TYPE_CHECKING:
    from xctvol.model.file import Model


def train(  # noqa: PLR0913 - one parameter an option
    pairs: Annotated[
        Path,
        typer.Argument(help="Folder with images/ and masks/ of the same names.", metavar="PAIRS"),
    ],
    materials: options.MaterialsFile,
    output: Annotated[Path, typer.Option(help="Model file to write.", metavar="MODEL.safetensors")],
    architecture: Annotated[
        str,
        typer.Option(
            help="A torchvision segmentation network, unet (ours, small: for CPUs), or "
            "package.module:factory.",
            metavar="NAME",
        ),
    ] = "fcn_resnet101",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training slices.")] = 100,
    replicates: Annotated[
        int, typer.Option(min=1, help="Independent models, with other seeds and splits.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits, weights and order.")] = 0,
    crop: Annotated[
        int | None,
        typer.Option(help="Train on random squares of so many pixels, not on whole slices."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Squares a step (with --crop).")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the Adam optimizer; by default as fits the network.")
    ] = None,
    validation: Annotated[
        float, typer.Option(help="Share of the pairs kept to choose the best epoch.")
    ] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    workers: options.Workers = None,
    cluster: options.Cluster = "serial",
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model on a few annotated slices."""
    from xctvol.materials import Materials
    from xctvol.pairs import open_pairs
    from xctvol.stages.train import train as stage

    running = options.Running(dry_run, overwrite, json, quiet, workers, 0, cluster, None, memory)
    plan = stage(
        open_pairs(pairs, Materials.read(materials)),
        output,
        architecture=architecture,
        epochs=epochs,
        replicates=replicates,
        seed=seed,
        crop=crop,
        batch=batch,
        learning_rate=learning_rate,
        validation=validation,
        device=device,
    )
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
