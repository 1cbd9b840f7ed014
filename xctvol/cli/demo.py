"""xctvol demo."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xctvol.cli import options
from xctvol.units import format_duration

if TYPE_CHECKING:
    from xctvol.demo import Row


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to work in.", metavar="DIR")] = Path(
        "xctvol-demo"
    ),
    quiet: options.Quiet = False,
) -> None:
    """Make a leaf and take it through the whole workflow, offline."""
    from xctvol import demo as stage
    from xctvol.cli.progress import display

    start = time.monotonic()
    written = stage.write_leaf(folder)
    slices = stage.leaf().shape[0]
    print(f"A made-up leaf, {slices} slices with annotations, in {folder}", file=sys.stderr)
    for _ in written:
        pass
    print(f"$ cd {folder}")
    for step in stage.steps(folder):
        print(f"$ {step.command}", flush=True)
        plan = step.plan()
        if plan.finished():
            print("  (done before)")
        executor = options.Running(cluster=step.cluster).executor(plan)
        with display(quiet=quiet) as listen:
            plan.run(executor, listen)
    _print_table(stage.results(folder))
    print(f"report: {(folder / 'leaf.html').absolute()}")
    print(f"took {format_duration(time.monotonic() - start)}", file=sys.stderr)


def _print_table(rows: "tuple[Row, ...]") -> None:
    print(f"\n{'material':<24}{'voxels':>12}{'volume um3':>16}{'F1':>8}")
    for row in rows:
        print(f"{row.material:<24}{row.voxels:>12}{row.volume_um3:>16.0f}{row.f1:>8.3f}")
