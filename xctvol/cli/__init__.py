"""The command line: one small file a verb, and the one place where errors become exit codes."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from xctvol.cli import (
    cluster,
    convert,
    demo,
    doctor,
    evaluate,
    export,
    info,
    jobs,
    measure,
    model,
    report,
    segment,
    study,
    train,
    verify,
    view,
)
from xctvol.cli.submission import Verb, remember
from xctvol.errors import XctvolError
from xctvol.stopping import overdue

__all__ = ["app", "main"]

_EXIT_FAILED = 1
_EXIT_INPUT = 3
_EXIT_INTERRUPTED = 130


class _Boundary(TyperGroup):
    """Turns every foreseen error into one line on stderr and an exit code.

    0 done, 1 failed, 2 usage, 3 input missing or unreadable, 4 partial but resumable,
    130 interrupted. What is not foreseen is a bug, and keeps its traceback.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        remember(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except XctvolError as error:
            self._say(str(error))
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            raise typer.Exit(_EXIT_FAILED) from None
        except OSError as error:  # of the file system: the path and the reason say it all
            self._say(f"{error.filename}: {error.strerror}")
            unreadable = isinstance(error, PermissionError | FileNotFoundError)
            raise typer.Exit(_EXIT_INPUT if unreadable else _EXIT_FAILED) from None
        except KeyboardInterrupt:
            self._say("interrupted; what is finished is kept, run the same command to continue")
            raise typer.Exit(_EXIT_INTERRUPTED) from None

    @staticmethod
    def _say(message: str) -> None:
        print(f"xctvol: {message}", file=sys.stderr)


app = typer.Typer(
    name="xctvol",
    cls=_Boundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take longer to import than all the rest of --help
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Segment and measure X-ray CT volumes of soil and plants: convert a scan, train a model "
    "on a few annotated slices, segment the whole scan, measure it in 3D. Every command continues "
    "where it was stopped.",
)
for verb in (
    demo, convert, verify, train, evaluate, study, segment, measure, report, view, export, info,
    doctor,
):  # fmt: skip  # in the order of their use
    app.command(cls=Verb)(getattr(verb, verb.__name__.rpartition(".")[2]))
app.add_typer(model.model, name="model")
app.add_typer(cluster.app, name="cluster")
app.add_typer(jobs.app, name="jobs")


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("xctvol"))
        raise typer.Exit


def main() -> None:
    """Entry point of the `xctvol` command."""
    code = _EXIT_FAILED  # of what is not foreseen
    try:
        app()
    except SystemExit as end:
        code = int(end.code or 0)
        raise
    finally:
        jobs.leave(code)
        if overdue():  # threads may still be at work on blocks that are dropped
            sys.stdout.flush()
            os._exit(code)
