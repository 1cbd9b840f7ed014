"""xctvol verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xctvol.cli import options, scan
from xctvol.cli.run import carry_out
from xctvol.errors import UsageError, XctvolError

if TYPE_CHECKING:
    from xctvol.stages.segment import SegmentAgain
    from xctvol.stages.verify import Verdict

Where = Annotated[
    str,
    typer.Argument(
        help="Volume, labels, or folder of measurements, scores or a study.", metavar="PRODUCT"
    ),
]
From = Annotated[
    str | None,
    typer.Option(help="The scan it was made from: then every voxel is compared.", metavar="SOURCE"),
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Write bad shards anew: from the source, by the model or, of coarser levels, from "
        "level 0.",
    ),
]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        help="Model that the labels were made with, to make bad shards of labels again; several "
        "in the original order.",
    ),
]


def verify(  # noqa: PLR0913 - one parameter an option
    product: Where,
    source: From = None,
    roi: scan.Roi = None,
    dataset: scan.Dataset = None,
    raw: scan.Raw = None,
    allow_gaps: scan.AllowGaps = False,
    repair: Repair = False,
    models: Models = None,
    workers: options.Workers = None,
    cluster: options.Cluster = "local",
    part: options.Part = None,
    memory: options.Memory = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Prove that a product is whole, and equal to its source.

    Reads all of it again, and compares it with all there is to compare with.
    """
    from xctvol.stages import verify as stage

    running = options.Running(dry_run, False, json, quiet, workers, 0, cluster, part, memory)
    voxels = None
    if source is not None:
        voxels = scan.Scan(source, None, allow_gaps, dataset, raw, roi).open()
    elif roi or dataset or raw or allow_gaps:
        raise UsageError(
            "--roi, --dataset, --raw and --allow-gaps say which voxels of a source were converted: "
            "add --source"
        )
    if repair:
        plan = stage.repair(product, voxels, _again(product, models) if models else None)
    elif models:
        raise UsageError("--model says how to make bad shards of labels again: add --repair")
    else:
        plan = stage.verify(product, voxels)
    verdicts: list[Verdict] = []

    def facts(verdict: "Verdict") -> dict[str, Any]:
        verdicts.append(verdict)
        return _facts(verdict)

    carry_out(plan, running, facts)
    for verdict in verdicts:
        _refuse(verdict)


def _again(product: str, models: list[Path]) -> "SegmentAgain":
    """What makes slabs of the labels at `product`, or of the only ones of a scan, once more."""
    from xctvol.labels import open_labels
    from xctvol.model.file import open_model
    from xctvol.stages.segment import segment_again

    return segment_again(open_labels(product), [open_model(model) for model in models])


def _facts(verdict: "Verdict") -> dict[str, Any]:
    facts: dict[str, Any] = {"product": str(verdict.path)}
    facts |= {"files": verdict.files} if verdict.files else {}
    facts |= {"shards": verdict.shards} if verdict.shards else {}
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
    """Raise XctvolError for a product that is not good, with what to do."""
    if verdict.bad:
        read = [f"{verdict.files} files"] if verdict.files else []
        read += [f"{verdict.shards} shards"] if verdict.shards else []
        raise XctvolError(
            f"{verdict.path}: {len(verdict.bad)} of {' and '.join(read)} are bad; "
            f"{'; '.join(verdict.remedies)}"
        )
    if verdict.other_slices:
        raise XctvolError(
            f"{verdict.path} is whole, but {len(verdict.other_slices)} slices of the source are "
            "not those that were converted; find out which are right"
        )
