"""xctvol evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out
from xctvol.locations import local

if TYPE_CHECKING:
    from xctvol.stages.evaluate import Scores


def evaluate(  # noqa: PLR0913 - one parameter an option
    models: Annotated[list[Path], typer.Argument(help="Trained models.", metavar="MODEL...")],
    pairs: Annotated[
        Path,
        typer.Argument(
            help="Folder of pairs, as for train, that no model was trained on.", metavar="PAIRS"
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the scores.", metavar="DIR")],
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pairs that the models were trained on: a pixel random forest that "
            "learns from it is scored as well (extra `baseline`).",
            metavar="PAIRS",
        ),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Score what all models decide together as one more, as segment does with several.",
        ),
    ] = False,
    decode: options.Decode = None,
    device: options.Device = "auto",
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score models on annotated slices.

    Accuracy, precision, recall, F1, IoU and boundary F1 of each material.
    """
    from xctvol.model.file import open_model
    from xctvol.pairs import open_pairs
    from xctvol.stages.evaluate import evaluate as stage

    running = options.Running(dry_run, overwrite, json, quiet, memory=memory)
    opened = [open_model(path) for path in models]
    materials = opened[0].card.materials
    learned = None if baseline is None else open_pairs(baseline, materials)
    plan = stage(
        opened,
        open_pairs(pairs, materials),
        local(output, "the folder of scores"),
        baseline=learned,
        together=together,
        decode=decode,
        device=device,
    )
    carry_out(plan, running, _facts)


def _facts(scores: "Scores") -> dict[str, Any]:
    lines = [
        f"{row.model}, {row.material}: F1 {row.f1:.4f}, "
        f"precision {row.precision:.4f}, recall {row.recall:.4f}, IoU {row.iou:.4f}, "
        f"boundary F1 {row.boundary_f1:.4f}"
        for row in scores.table
    ]
    macro = [f"{model}: {value:.4f}" for model, value in scores.macro_f1.items()]
    return {
        "scores": str(scores.path),
        "materials": lines,
        "macro-F1": macro,
        "best": str(scores.best),
    }
