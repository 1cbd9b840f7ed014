"""Run folders: what was asked for, the jobs that do it, what they printed and how they ended."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xctvol import stopping
from xctvol.errors import InputError, PartialError, UsageError
from xctvol.execution.slurm import queue
from xctvol.execution.slurm.profile import Profile
from xctvol.execution.slurm.script import RUN_VARIABLE, Command, batch_script
from xctvol.files import read_json, remove_tree, write_atomic, write_json
from xctvol.formats import refuse_newer, stamp

__all__ = ["RunFolder", "Submission", "submit"]

_RUNS = "xctvol-runs"
_SCRIPT = "job.sbatch"
_RECORD = "run.json"
_RESULTS = "results"
_LOGS = ("worker", "log", "out")  # progress and errors of the command, and its results
# An array does one stage of a plan for certain: a share cannot begin the next one while others
# are not done. No plan has more than three. What is done already costs a task some seconds.
_ROUNDS = {"array": 3, "allocation": 1}


@dataclass(frozen=True)
class RunFolder:
    """One command given to SLURM: `job.sbatch`, `run.json`, the profile, logs and results."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The run in a folder; raises InputError where there is none, or a newer or damaged one."""
        if not (path / _RECORD).exists():
            raise InputError(f"{path} is not the folder of a run (it has no {_RECORD})")
        run = cls(path.absolute())
        _ = run.profile  # reads the record, and refuses what is newer or damaged
        return run

    @classmethod
    def of_this_job(cls) -> "RunFolder | None":
        """The run that this process is a job of, if it is one."""
        path = os.environ.get(RUN_VARIABLE)
        return None if path is None else cls.open(Path(path))

    @property
    def script(self) -> Path:
        return self.path / _SCRIPT

    @property
    def profile(self) -> Profile:
        return Profile.of(self._record["profile"], self.path / _RECORD)

    @property
    def command(self) -> str:
        """What was typed, for people."""
        return str(self._record["command"])

    @property
    def jobs(self) -> list[str]:
        """Ids of the jobs of the last submission."""
        return list(self._record["jobs"])

    @property
    def _record(self) -> dict[str, Any]:
        record = read_json(self.path / _RECORD)
        refuse_newer("run", self.path / _RECORD, record)
        if not _is_record(record):
            raise InputError(
                f"{self.path / _RECORD} is damaged: it does not say which command, profile and "
                "jobs this run has; give the command to SLURM again, it continues where it was"
            )
        return dict(record)

    @property
    def scheduler_file(self) -> Path:
        """There while the driver is running."""
        return self.path / "scheduler.json"

    def start(self) -> list[str]:
        """Submit the jobs, and forget how earlier ones ended; gives their ids."""
        remove_tree(self.path / _RESULTS)
        record = self._record
        jobs: list[str] = []
        for _ in range(_ROUNDS[self.profile.mode]):
            jobs.append(queue.sbatch(self.script, after=jobs[-1] if jobs else None))
            write_json(self.path / _RECORD, {**record, "jobs": jobs})
        return jobs

    def resume(self) -> list[str]:
        """Submit the jobs again; raises UsageError while some have not ended."""
        waiting = self.waiting()
        if waiting:
            raise UsageError(
                f"job {waiting[0].job} of this run is {waiting[0].state.lower()}; it continues by "
                "itself, or cancel it first"
            )
        return self.start()

    def waiting(self) -> list[queue.Waiting]:
        """The jobs, and tasks of arrays, that have not ended."""
        return queue.queued(self.jobs)

    def cancel(self) -> None:
        """End the jobs, where they have not ended."""
        waiting = {job.job.partition("_")[0] for job in self.waiting()}
        if waiting:
            queue.cancel(sorted(waiting))

    def leave(self, exit_code: int) -> None:
        """Called by a job as it ends: one that stopped because of its time goes on later."""
        if exit_code == PartialError.exit_code and stopping.requested() is signal.SIGUSR1:
            queue.requeue(os.environ["SLURM_JOB_ID"])
        else:
            self._note_end(exit_code)

    def _note_end(self, exit_code: int) -> None:
        job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"])
        share = os.environ.get("SLURM_ARRAY_TASK_ID", "1")
        write_json(self.path / _RESULTS / f"{share}.json", {"job": job, "exit_code": exit_code})

    def exit_code(self) -> int:
        """0 where every share of the last job said that it ended well, else that of one of them.

        A share that was killed could not say anything: it is unfinished.
        """
        results = [_result(file) for file in (self.path / _RESULTS).glob("*.json")]
        codes = [code for job, code in results if job in self.jobs[-1:]]
        shares = self.profile.workers if self.profile.mode == "array" else 1
        return max([*codes, PartialError.exit_code if len(codes) < shares else 0])

    def logs(self) -> list[Path]:
        """What the jobs and workers wrote, oldest first."""
        found = [path for kind in _LOGS for path in self.path.glob(f"{kind}-*.txt")]
        return sorted(found, key=lambda path: path.stat().st_mtime)


@dataclass(frozen=True)
class Submission:
    """A command and the profile it is to run under."""

    command: Command
    profile: Profile

    def text(self, folder: Path) -> str:
        return batch_script(self.command, self.profile, folder)

    def folder(self) -> Path:
        """Where the run would be recorded, beside what it makes."""
        moment = time.strftime("%Y%m%d-%H%M%S")
        return self.command.folder / _RUNS / f"{self.command.verb}-{moment}"


def submit(submission: Submission) -> RunFolder:
    """Make the run folder, and hand the job to SLURM."""
    run = RunFolder(_new_folder(submission.folder()))
    write_atomic(run.script, submission.text(run.path).encode())
    record = {
        **stamp("run"),
        "command": str(submission.command),
        "folder": str(submission.command.folder),
        "profile": submission.profile.to_json(),
        "jobs": [],
    }
    write_json(run.path / _RECORD, record)
    run.start()
    return run


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("profile"), dict):
        return False
    jobs = value.get("jobs")
    known = isinstance(jobs, list) and all(_is_id(job) for job in jobs)
    return known and isinstance(value.get("command"), str)


def _is_id(job: Any) -> bool:
    """Whether SLURM can have given this id; options of its commands are none."""
    return isinstance(job, str) and job.isascii() and job.isdigit()


def _result(file: Path) -> tuple[str, int]:
    """The job that wrote how it ended, and its exit code; raises InputError."""
    try:
        result = read_json(file)
        return str(result["job"]), int(result["exit_code"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{file} is damaged ({error!r}); see the logs of the run") from error


def _new_folder(path: Path) -> Path:
    """Make the folder, or one with a number after its name where that is taken."""
    number = 1
    while True:
        try:
            chosen = path if number == 1 else path.with_name(f"{path.name}-{number}")
            chosen.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return chosen
