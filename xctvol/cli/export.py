"""xctvol export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xctvol.cli import options
from xctvol.cli import scan as scans
from xctvol.cli.run import carry_out
from xctvol.errors import UsageError

if TYPE_CHECKING:
    from xctvol.labels import Labels
    from xctvol.volume import Volume


def export(  # noqa: PLR0913 - one parameter an option
    scan: Annotated[str, typer.Argument(help="Volume to export.", metavar="SCAN.zarr")],
    output: Annotated[
        Path,
        typer.Argument(
            help="What to write: STACK.tif for ImageJ, STACK.nrrd, SURFACES.glb, or a folder "
            "with a TIFF file of each slice."
        ),
    ],
    labels: Annotated[
        str | None, typer.Option(help="Export these labels of the volume, not its grey values.")
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Resolution: 0, the finest, is the default; each further one is half. Surfaces "
            "are of one that fits memory.",
        ),
    ] = None,
    roi: scans.Roi = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Only these slices, into a folder: numbers, or FIRST:END:STEP, as in 0:960:80.",
            metavar="Z,Z,...",
        ),
    ] = None,
    material: Annotated[
        list[str] | None,
        typer.Option(help="Only the surfaces of this material; may be given several times."),
    ] = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a volume or its labels for ImageJ and other programs."""
    from xctvol.labels import Labels
    from xctvol.stages.export import export as stage

    running = options.Running(dry_run, overwrite, json, quiet)
    image = _image(scan, labels)
    volume = image.volume if isinstance(image, Labels) else image
    shape = volume.levels[min(level or 0, len(volume.levels) - 1)].shape
    plan = stage(
        image,
        output,
        level=level,
        box=scans.parse_box(roi, shape) if roi else None,
        slices=None if slices is None else _numbers(slices, shape[0]),
        materials=material or (),
    )
    carry_out(plan, running, lambda path: {"export": str(path)})


def _image(scan: str, labels: str | None) -> "Volume | Labels":
    """Labels where they are named, or where the volume is one of labels with materials."""
    from xctvol.labels import open_labels
    from xctvol.locations import located
    from xctvol.volume import open_volume, read_attributes

    ome, _ = read_attributes(located(scan))
    return open_labels(scan, labels) if labels or ome.get("image-label") else open_volume(scan)


def _numbers(text: str, depth: int) -> list[int]:
    """Slices as typed, in order; of a range that is longer than so many, the last."""
    found: set[int] = set()
    try:
        for part in text.split(","):
            numbers = [int(number) for number in part.split(":")]
            wanted = range(*numbers) if len(numbers) > 1 else range(numbers[0], numbers[0] + 1)
            found |= {*wanted} if len(wanted) <= depth else {wanted[-1]}
    except (TypeError, ValueError):
        found = set()
    if not found or min(found) < 0:
        raise UsageError(
            f"cannot read the slices {text!r}: write their numbers, from 0 on, as 10,50,90, or "
            "FIRST:END:STEP, as 0:960:80"
        )
    return sorted(found)
