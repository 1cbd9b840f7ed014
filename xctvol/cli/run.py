"""Carrying out a plan as the shared options say, and printing what came of it."""

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from xctvol.cli.options import Running
from xctvol.errors import UsageError
from xctvol.plan import Plan
from xctvol.stopping import stopping_on_signals

__all__ = ["carry_out", "show"]

T = TypeVar("T")
Facts = dict[str, Any]


def carry_out(plan: Plan[T], running: Running, facts: Callable[[T], Facts]) -> None:
    """Run `plan`, or print it for a dry run; then print the `facts` of its product."""
    if running.overwrite:
        plan = plan.overwrite()
    executor, share = running.executor(plan), running.share()
    if share is not None and running.overwrite:
        raise UsageError("--part and --overwrite exclude each other: parts run side by side")
    work = plan if share is None else plan.part(*share)
    if running.dry_run:
        print(plan)
        plan.check(executor)
        return
    for note in plan.notes:
        if note.startswith("WARNING"):
            print(f"xctvol: {note}", file=sys.stderr)
    from xctvol.cli.progress import display  # rich takes a quarter of a second to import

    with stopping_on_signals(), display(quiet=running.quiet) as listen:
        product = work.run(executor, listen)
    if product is None:
        print(f"part {running.part} is done; other parts are not yet", file=sys.stderr)
    else:
        show({**facts(product), **listen.facts()}, as_json=running.json)


def show(facts: Facts, *, as_json: bool) -> None:
    """Print facts: `name  value` lines, or one JSON object."""
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        first, *more = (value or ["none"]) if isinstance(value, list) else [value]
        print(f"{name:<{width}}  {first}")
        for line in more:
            print(f"{'':<{width}}  {line}")
