"""The command line: one small file a verb, and the one place where errors become exit codes."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
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
from xctvol.errors import UsageError, XctvolError
from xctvol.stopping import overdue

__all__ = ["app", "main"]

_EXIT_FAILED = 1
_EXIT_INPUT = 3
_EXIT_INTERRUPTED = 130
_FEW = 3  # arguments, that can be repeated in a message
_Mistyped: type[Exception] = typer.BadParameter.__mro__[1]  # of all that does not fit the options


class _Boundary(TyperGroup):
    """Turns every foreseen error into one line on stderr and an exit code.

    0 done, 1 failed, 2 usage, 3 input missing or unreadable, 4 partial but resumable,
    130 interrupted. What is not foreseen is a bug, and keeps its traceback.
    """

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _one_line():
            return super().make_context(*args, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_empty(args)
        remember(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _one_line():
            return super().invoke(ctx)


class _Verb(Verb):
    """A verb that says what is wrong with more arguments than it has, however many they are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        more = super().parse_args(ctx, args)
        if more and not ctx.resilient_parsing:
            raise UsageError(f"{_unexpected(more)}; see {ctx.command_path} --help")
        return more


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except XctvolError as error:
        _say(str(error))
        raise typer.Exit(error.exit_code) from None
    except _Mistyped as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # not an error: its message is the help
            raise
        _say(_mistyped(error))
        raise typer.Exit(UsageError.exit_code) from None
    except BrokenPipeError:
        raise typer.Exit(_EXIT_FAILED) from None
    except OSError as error:  # of the file system: the path and the reason say it all
        _say(f"{error.filename}: {error.strerror}")
        unreadable = isinstance(error, PermissionError | FileNotFoundError)
        raise typer.Exit(_EXIT_INPUT if unreadable else _EXIT_FAILED) from None
    except KeyboardInterrupt:
        _say("interrupted; what is finished is kept, run the same command to continue")
        raise typer.Exit(_EXIT_INTERRUPTED) from None


def _say(message: str) -> None:
    print(f"xctvol: {message}", file=sys.stderr)


def _mistyped(error: Any) -> str:
    """What the library for options says, as our own errors are said."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    verb = error.ctx.command_path if error.ctx else "xctvol"
    return str(UsageError(f"{text[:1].lower()}{text[1:]}; see {verb} --help"))


def _refuse_empty(args: Sequence[str]) -> None:
    """Raise UsageError for an empty word: it would mean the folder one is in, or nothing at all."""
    for before, word in zip(("xctvol", *args), args, strict=False):
        option, equals, value = word.partition("=")
        if not word or (option.startswith("--") and equals and not value):
            place = option or f"what follows {before!r:.80}"
            raise UsageError(
                f"{place} is empty, as if a shell variable is not set; write what is meant, or "
                "leave it out"
            )


def _unexpected(more: Sequence[str]) -> str:
    if len(more) <= _FEW:
        return f"more arguments than expected: {', '.join(map(repr, more))}"
    count = f"{len(more)} more arguments than expected, from {more[0]!r:.200} on"
    suffix = PurePath(more[0]).suffix
    if suffix in ("", ".zarr"):  # not one slice of many
        return count
    pattern = PurePath(more[0]).parent / f"*{suffix}"
    return f"{count}: write a pattern in quotes, {str(pattern)!r:.200}, or name the folder"


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
    app.command(cls=_Verb)(getattr(verb, verb.__name__.rpartition(".")[2]))
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
