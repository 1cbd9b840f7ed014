"""The job script: what the user typed, as SLURM is to run it."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from xctvol.execution.slurm.profile import Profile
from xctvol.stopping import GRACE_VARIABLE

__all__ = ["RUN_VARIABLE", "Command", "batch_script"]

RUN_VARIABLE = "XCTVOL_RUN"  # tells a job its run folder
_SECONDS_TO_LEAVE = 20  # from the end of the grace period to that of the time


@dataclass(frozen=True)
class Command:
    """What was typed: the verb and its arguments, without the options of the cluster, and where."""

    arguments: tuple[str, ...]
    folder: Path

    @property
    def verb(self) -> str:
        return self.arguments[0]

    def __str__(self) -> str:
        return shlex.join(("xctvol", *self.arguments))


def batch_script(command: Command, profile: Profile, run: Path) -> str:
    """The text of the job script. It runs with the run folder as its working directory.

    The command replaces the shell, so SLURM's signals reach it and its exit code is the job's.
    """
    export = {
        RUN_VARIABLE: str(run),
        GRACE_VARIABLE: str(max(1, profile.warning_s - _SECONDS_TO_LEAVE)),
        "OMP_NUM_THREADS": str(profile.cpus),
    }
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in _options(command, profile)),
        "",
        *profile.setup,
        *(f"export {name}={shlex.quote(value)}" for name, value in export.items()),
        f"cd -- {shlex.quote(str(command.folder))} || exit 1",
        f"exec {_execution(command, profile)}",
    ]
    return "\n".join(lines) + "\n"


def _options(command: Command, profile: Profile) -> list[str]:
    """Options of sbatch; the logs' names are relative, so that no path has to be quoted here."""
    named = {
        "partition": profile.partition,
        "account": profile.account,
        "time": profile.time,
        "mem": profile.mem,
        "mem-per-gpu": profile.mem_per_gpu,
        "mem-per-cpu": profile.mem_per_cpu,
    }
    tasks: tuple[str, ...] = (f"--ntasks={profile.workers}",)
    if profile.mode == "array":
        tasks = (f"--array=1-{profile.workers}", "--ntasks=1")
    return [
        f"--job-name=xctvol-{command.verb}",
        "--output=out-%j.txt",
        "--error=log-%j.txt",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{profile.warning_s}",
        *tasks,
        f"--cpus-per-task={profile.cpus}",
        *([profile.gpu] if profile.gpu else []),
        *(f"--{name}={value}" for name, value in named.items() if value),
        *profile.sbatch,
    ]


def _execution(command: Command, profile: Profile) -> str:
    """What was typed, and how it runs in the job; nothing may follow a `--` that was typed."""
    end = (*command.arguments, "--").index("--")
    options, rest = command.arguments[:end], command.arguments[end:]
    how = "--cluster allocation"
    if profile.mode == "array":
        how = f'--cluster serial --part "$SLURM_ARRAY_TASK_ID/{profile.workers}"'
    program = (
        sys.executable,
        "-P",
        "-m",
        "xctvol",
    )  # -P: modules in the user's folder are not ours
    return " ".join(filter(None, (shlex.join((*program, *options)), how, shlex.join(rest))))
