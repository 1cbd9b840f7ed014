"""Options that several verbs share, each declared once, and what they say together."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xctvol.errors import UsageError
from xctvol.units import parse_bytes

if TYPE_CHECKING:
    from xctvol.plan import Executor, Plan

__all__ = [
    "Cluster",
    "Decode",
    "Device",
    "DryRun",
    "Gpus",
    "Json",
    "MaterialsFile",
    "Memory",
    "Overwrite",
    "Part",
    "Profile",
    "Quiet",
    "Running",
    "VoxelSize",
    "Wait",
    "Workers",
]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what is there."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Blocks done at the same time; by default as many as fit.",
    ),
]
Cluster = Annotated[
    str,
    typer.Option(
        help="local processes, serial, slurm, or a dask scheduler (tcp://... or its file.json).",
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(help="With --cluster slurm: what `cluster init` wrote.", metavar="TOML"),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="With --cluster slurm: follow the job to its end.")
]
Gpus = Annotated[int | None, typer.Option(min=0, help="GPUs to use.")]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do the I-th of N shares, as in a job array.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="8GB", help="Memory it may use in all."),
]
VoxelSize = Annotated[
    str | None,
    typer.Option(
        "--spacing", help="Voxel size: 0.65um, or z,y,x as 2,0.65,0.65um.", metavar="SIZE"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
MaterialsFile = Annotated[
    Path, typer.Option("--materials", help="TOML table of the materials.", metavar="TOML")
]
Decode = Annotated[
    Literal["argmax", "threshold", "threshold_sum"] | None,
    typer.Option(
        help="Label of the most probable material (the default where the model does not say), of "
        "the one most above its threshold, or the sum of labels above theirs.",
    ),
]


@dataclass(frozen=True)
class Running:
    """What the shared options of one call say."""

    dry_run: bool = False
    overwrite: bool = False
    json: bool = False
    quiet: bool = False
    workers: int | None = None
    gpus: int = 0
    cluster: str = "serial"
    part: str | None = None
    memory: str | None = None

    @property
    def address(self) -> str | None:
        """Where the scheduler of a dask cluster is that somebody else has started."""
        theirs = ":" in self.cluster or self.cluster.endswith(".json")
        return self.cluster if theirs else None

    def executor(self, plan: "Plan[Any]") -> "Executor":
        """The executor they ask for; importing dask only where it is one of dask's."""
        limit = parse_bytes(self.memory) if self.memory else None
        if self.cluster == "serial":
            from xctvol.plan import Serial

            return Serial(limit)
        from xctvol.execution import Dask

        if self.cluster == "local":
            workers = self.workers or self.gpus or _fitting_workers(plan, limit)
            return Dask(workers, self.gpus, None, limit)
        if self.address is not None:
            return Dask(address=self.address, memory_limit=limit)
        if self.cluster == "allocation":
            from xctvol.execution import Allocation

            return Allocation.of_this_job()
        raise UsageError(
            f"there is no cluster {self.cluster!r}; use local, serial, slurm, a dask scheduler's "
            "address (tcp://host:8786) or its scheduler file (.json)"
        )

    def share(self) -> tuple[int, int] | None:
        """The part to do, as (number, count), or None for all of it."""
        if self.part is None:
            return None
        typed = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.part)
        if typed is None:
            raise UsageError(f"cannot read the part {self.part!r}: write it as 3/40")
        return int(typed[1]), int(typed[2])


def _fitting_workers(plan: "Plan[Any]", limit: int | None) -> int:
    """Workers for all processors, unless there are fewer blocks or the memory is for fewer."""
    from xctvol.resources import available_memory, thread_budget

    blocks = max(len(stage.blocks) for stage in plan.stages)
    memory = available_memory() if limit is None else limit
    workers = thread_budget() // max(stage.threads for stage in plan.stages)
    return max(1, min(workers, blocks, memory // max(1, plan.peak_memory)))
