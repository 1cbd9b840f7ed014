"""xctvol model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xctvol.cli import options
from xctvol.cli.run import carry_out, show
from xctvol.locations import local

if TYPE_CHECKING:
    from xctvol.model.file import Model

__all__ = ["model"]

model = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show or adapt a model, or import an XCT_FCN checkpoint.",
)

ModelFile = Annotated[Path, typer.Argument(help="Trained model.", metavar="MODEL.safetensors")]
Output = Annotated[Path, typer.Option(help="Model file to write.", metavar="MODEL.safetensors")]


@model.command("show")
def show_card(path: ModelFile, json: options.Json = False) -> None:
    """Print the card of a model: all that decides what it predicts, and how it was made."""
    from xctvol.model.file import read_card

    card = read_card(path).to_json()
    show(card if json else _lines(card), as_json=json)


@model.command()
def recalibrate(  # noqa: PLR0913 - one parameter an option
    path: ModelFile,
    scan: Annotated[str, typer.Argument(help="Volume to adapt it to.", metavar="SCAN.zarr")],
    output: Output,
    slices: Annotated[int, typer.Option(min=1, help="Slices to collect statistics from.")] = 32,
    device: options.Device = "auto",
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Collect the running statistics of batch normalization anew, over slices of a scan."""
    from xctvol.model.file import open_model
    from xctvol.stages.model import recalibrate as stage
    from xctvol.volume import open_volume

    running = options.Running(dry_run, overwrite, json, quiet, memory=memory)
    output = local(output, "the model")
    plan = stage(open_model(path), open_volume(scan), output, slices=slices, device=device)
    carry_out(plan, running, _recalibrated)


@model.command()
def import_xctfcn(  # noqa: PLR0913 - one parameter an option
    checkpoint: Annotated[
        Path, typer.Argument(help="State dict that XCT_FCN saved.", metavar="MODEL.pth")
    ],
    materials: options.MaterialsFile,
    output: Output,
    mean: Annotated[float, typer.Option(help="Mean of its training images, divided by 255.")],
    std: Annotated[float, typer.Option(help="Their standard deviation, divided by 255.")],
    preprocess: Annotated[
        Literal["fixed", "legacy"],
        typer.Option(help="Grey values as in its training, or as XCT_FCN predicted."),
    ] = "fixed",
    scale: Annotated[float, typer.Option(help="Scale of its training, above 0, up to 1.")] = 1.0,
    spacing: Annotated[
        str | None, typer.Option(help="Voxel size of its training scans.", metavar="SIZE")
    ] = None,
    decode: options.Decode = None,
    architecture: Annotated[str, typer.Option(help="Its torchvision network.")] = "fcn_resnet101",
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a model of a checkpoint of XCT_FCN; nothing in it is executed."""
    from xctvol.materials import Materials
    from xctvol.stages.model import import_xctfcn as stage
    from xctvol.units import parse_spacing

    plan = stage(
        checkpoint,
        Materials.read(materials),
        local(output, "the model"),
        mean=mean,
        std=std,
        preprocess=preprocess,
        scale=scale,
        spacing=None if spacing is None else parse_spacing(spacing),
        decode=decode or "argmax",
        architecture=architecture,
    )
    carry_out(plan, options.Running(dry_run, overwrite, json, quiet), _imported)


def _recalibrated(made: "Model") -> dict[str, Any]:
    record = made.card.recalibration
    assert record is not None
    return {
        "model": str(made.path),
        "statistics": f"running, over {record.slices} slices of {record.scan}",
        "same labels as before": f"{100 * record.agreement:.2f} %",
    }


def _imported(made: "Model") -> dict[str, Any]:
    return {
        "model": str(made.path),
        "architecture": made.card.architecture,
        "materials": list(made.card.materials.names),
    }


def _lines(card: dict[str, Any]) -> dict[str, Any]:
    """A card for people: a line a value, a line a material, the losses left out."""
    training = card.pop("training") or {}
    training.pop("losses", None)
    lines = {name: value for name, value in card.items() if not isinstance(value, dict)}
    lines["materials"] = [
        f"{m['label']} {m['name']}, threshold {m['threshold']}" for m in card["materials"]
    ]
    for group in ("grey", "recalibration"):
        lines |= {f"{group} {name}": value for name, value in (card[group] or {}).items()}
    lines |= {f"trained {name}": str(value) for name, value in training.items()}
    return {name: "none" if value is None else value for name, value in lines.items()}
