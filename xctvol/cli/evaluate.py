"""xctvol evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out

if TYPE_CHECKING:
    from xctvol.stages.evaluate import Scores


def evaluate(  # noqa: PLR0913 - one parameter an option
    models: Annotated[list[Path], typer.Argument(help="Trained models.", metavar="MODEL...")],
    pairs: Annotated[
        Path,
        typer.Argument(
            help="Folder with images/ and masks/ that no model was trained on.", metavar="PAIRS"
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the scores.", metavar="DIR")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score models on annotated slices: accuracy, precision, recall and F1."""
    from xctvol.model.file import open_model
    from xctvol.pairs import open_pairs
    from xctvol.stages.evaluate import evaluate as stage

    running = options.Running(dry_run, overwrite, json, quiet, memory=memory)
    opened = [open_model(path) for path in models]
    annotated = open_pairs(pairs, opened[0].card.materials)
    carry_out(stage(opened, annotated, output, device=device), running, _facts)


def _facts(scores: "Scores") -> dict[str, Any]:
    lines = [
        f"{row.model}, {row.material}: F1 {row.f1:.4f}, "
        f"precision {row.precision:.4f}, recall {row.recall:.4f}"
        for row in scores.table
    ]
    macro = [f"{model}: {value:.4f}" for model, value in scores.macro_f1.items()]
    return {
        "scores": str(scores.path),
        "materials": lines,
        "macro-F1": macro,
        "best": str(scores.best),
    }
