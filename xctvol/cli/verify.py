"""xctvol verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctvol.cli import options, scan
from xctvol.cli.run import carry_out
from xctvol.errors import XctvolError

if TYPE_CHECKING:
    from xctvol.stages.verify import Verdict

Where = Annotated[Path, typer.Argument(help="Volume to verify.", metavar="SCAN.zarr")]
From = Annotated[
    str | None,
    typer.Option(help="The scan it was made from: then every voxel is compared.", metavar="SOURCE"),
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Write bad shards anew: from the source or, of coarser levels, from level 0.",
    ),
]


def verify(  # noqa: PLR0913 - one parameter an option
    volume: Where,
    source: From = None,
    roi: scan.Roi = None,
    dataset: scan.Dataset = None,
    raw: scan.Raw = None,
    allow_gaps: scan.AllowGaps = False,
    repair: Repair = False,
    workers: options.Workers = None,
    cluster: options.Cluster = "local",
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read every shard of a volume again and compare it with all there is to compare with."""
    from xctvol.stages import verify as stage

    running = options.Running(dry_run, False, json, quiet, workers, 0, cluster, part, memory)
    voxels = None
    if source is not None:
        voxels = scan.Scan(source, None, allow_gaps, dataset, raw, roi).open()
    plan = (stage.repair if repair else stage.verify)(volume, voxels)
    verdicts: list[Verdict] = []

    def facts(verdict: "Verdict") -> dict[str, Any]:
        verdicts.append(verdict)
        return _facts(verdict)

    carry_out(plan, running, facts)
    for verdict in verdicts:
        _refuse(verdict)


def _facts(verdict: "Verdict") -> dict[str, Any]:
    facts: dict[str, Any] = {"volume": str(verdict.path), "shards": verdict.shards}
    if verdict.compared:
        through = f", through the window {verdict.window}" if verdict.window else ""
        facts["compared with the source"] = f"{verdict.compared} slices{through}"
    if verdict.repaired:
        facts["repaired"] = list(verdict.repaired)
    if verdict.bad:
        facts["bad"] = list(verdict.bad)
    if verdict.other_slices:
        facts["changed in the source"] = list(verdict.other_slices)
    if verdict.replaces_source:
        facts["verdict"] = "good; safe to delete the source"
    else:
        facts["verdict"] = "good" if verdict.good else "not good"
    return facts


def _refuse(verdict: "Verdict") -> None:
    """Raise XctvolError for a volume that is not good, with what to do."""
    if verdict.bad:
        raise XctvolError(
            f"{verdict.path}: {len(verdict.bad)} of {verdict.shards} shards are bad; keep the "
            "source, and write them anew with --source SOURCE --repair"
        )
    if verdict.other_slices:
        raise XctvolError(
            f"{verdict.path} is whole, but {len(verdict.other_slices)} slices of the source are "
            "not those that were converted; find out which are right"
        )
