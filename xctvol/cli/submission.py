"""Handing a command to SLURM: the options of it, and what happens instead of the verb."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from xctvol.cli.run import show
from xctvol.errors import InputError, UsageError, XctvolError

if TYPE_CHECKING:
    from xctvol.execution.slurm import Profile, RunFolder, Submission

__all__ = ["Verb", "follow", "remember"]

_TYPED = "xctvol.typed"
_INPUTS = ("source", "scan", "pairs", "models", "materials", "weights")  # of all verbs that may
_FLAGS = ("--wait", "--dry-run")
_VALUED = ("--cluster", "--profile", "--workers", "--gpus")  # the job script says these itself
_SECONDS_BETWEEN_LOOKS = 5.0


def remember(ctx: Any, arguments: Sequence[str]) -> None:
    """Keep what was typed after `xctvol`."""
    ctx.meta[_TYPED] = tuple(arguments)


class Verb(TyperCommand):
    """A verb; one that runs on clusters can also be handed to SLURM."""

    def invoke(self, ctx: Any) -> Any:
        if ctx.params.get("cluster") == "slurm":
            if "profile" not in ctx.params:
                raise UsageError(
                    f"{ctx.info_name} cannot be handed to SLURM; put it into a job script of your "
                    "own, without --cluster slurm"
                )
            return _hand_over(ctx)
        if ctx.params.get("profile") or ctx.params.get("wait"):
            raise UsageError("--profile and --wait are for --cluster slurm")
        return super().invoke(ctx)


def _hand_over(ctx: Any) -> None:
    from xctvol.execution.slurm import submit

    submission = _submission(ctx)
    if ctx.params["dry_run"]:
        print(submission.text(submission.folder()), end="")
        return
    run = submit(submission)
    job, path = ", ".join(run.jobs), run.path.relative_to(Path.cwd())
    if ctx.params["wait"]:  # stdout is for what the command prints
        print(f"job {job} is submitted; xctvol jobs status {path}", file=sys.stderr)
        raise typer.Exit(follow(run))
    show({"job": job, "run": str(path)}, as_json=ctx.params["json"])


def _submission(ctx: Any) -> "Submission":
    from xctvol.execution.slurm import Command, Profile, Submission, find_profile

    folder = Path.cwd()
    _refuse_missing(ctx.params)
    profile = Profile.read(find_profile(folder, ctx.params["profile"]))
    _refuse(ctx.params, profile)
    workers = ctx.params.get("gpus") or ctx.params["workers"] or profile.workers
    if ctx.params.get("gpus") and profile.gpu is None:
        raise UsageError('the profile says nothing of GPUs; add gpu = "--gpus-per-task=1" to it')
    command = Command(without_cluster(ctx.meta[_TYPED]), folder)
    return Submission(command, replace(profile, workers=workers))


def _refuse_missing(params: dict[str, Any]) -> None:
    """Raise InputError for an input that is not there: a job would find out after hours of waiting.

    What is in a bucket, and patterns, only the job itself looks for.
    """
    for name in _INPUTS:
        given = params.get(name) or ()
        for place in map(str, given if isinstance(given, list | tuple) else (given,)):
            if not (place.startswith("s3:") or "*" in place or Path(place).exists()):
                raise InputError(f"{place} does not exist, so no job is submitted to read it")


def _refuse(params: dict[str, Any], profile: "Profile") -> None:
    if params["overwrite"]:
        raise UsageError(
            "a job that is started again would --overwrite what it has done itself; give the "
            "product another name, or delete the old one first"
        )
    if params.get("part"):
        raise UsageError('--part is for one share; mode = "array" in the profile makes all of them')
    if profile.mode == "array" and "part" not in params:
        raise UsageError('this cannot be done in shares; use mode = "allocation" in the profile')


def without_cluster(typed: Sequence[str]) -> tuple[str, ...]:
    """What was typed, without the options that say where it runs.

    >>> without_cluster(["segment", "a.zarr", "--cluster=slurm", "--gpus", "4", "--wait", "m"])
    ('segment', 'a.zarr', 'm')
    """
    kept: list[str] = []
    words = iter(typed)
    for word in words:
        if word == "--":
            return (*kept, word, *words)
        if word in _VALUED:
            next(words)
        elif word not in _FLAGS and not word.startswith(tuple(f"{name}=" for name in _VALUED)):
            kept.append(word)
    return tuple(kept)


def follow(run: "RunFolder") -> int:
    """Show what the jobs write until they have ended; gives the exit code of the command."""
    shown: dict[Path, int] = {}
    try:
        while _not_ended(run):
            _show_new(run, shown)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        print(f"the job goes on; xctvol jobs cancel {run.path} ends it", file=sys.stderr)
        raise
    _show_new(run, shown)
    return run.exit_code()


def _not_ended(run: "RunFolder") -> bool:
    try:
        return bool(run.waiting())
    except XctvolError:  # the queue is too busy to answer, which it often is: ask again
        return True


def _show_new(run: "RunFolder", shown: dict[Path, int]) -> None:
    """Results to stdout, everything else to stderr, as the command itself would."""
    for path in run.logs():
        with open(path, encoding="utf-8", errors="replace") as file:
            file.seek(shown.get(path, 0))
            where = sys.stdout if path.name.startswith("out-") else sys.stderr
            print(file.read(), end="", file=where, flush=True)
            shown[path] = file.tell()
