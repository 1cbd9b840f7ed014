"""Site profiles: what a cluster wants to be told, in one TOML file."""

import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from xctvol.errors import InputError
from xctvol.files import refuse_special

__all__ = ["FILE_NAME", "TEMPLATE", "Profile", "find_profile"]

FILE_NAME = "xctvol-cluster.toml"
TEMPLATE = """\
# How xctvol runs on this cluster: `--cluster slurm` reads this file from the folder it is typed in,
# or from ~/.config/xctvol/cluster.toml. What is left out is not said to SLURM.

mode = "allocation"           # one job; "array": many small ones, where jobs are preempted
workers = 4                   # in all; --workers or --gpus on the command line count more
cpus = 8                      # a worker
time = "04:00:00"             # the job asks SLURM to continue it when this was not enough
warning_s = 120               # it is told so long before the time is up, to let slabs end

# partition = "gpu"
# account = "my-project"
# mem = "64G"                 # a node; or mem_per_gpu, or mem_per_cpu; some sites want none
# gpu = "--gpus-per-task=1"   # a worker; leave it out for processors only
# bind = "--cpu-bind=cores"   # how srun binds workers
# interface = "ib0"           # what workers talk over; nobody else should reach it
# scratch = "/local/scratch"  # a folder on every node, for what workers need while they run
# setup = ["module load cuda/12.4"]       # lines of shell, before anything else
# sbatch = ["--constraint=a100"]          # any other option of sbatch
"""
_HOME = Path("~/.config/xctvol/cluster.toml")


@dataclass(frozen=True)
class Profile:
    """What a site's jobs ask for. Texts are SLURM's, numbers are for each worker."""

    mode: Literal["allocation", "array"] = "allocation"
    workers: int = 1
    cpus: int = 1
    time: str | None = None
    warning_s: int = 120
    partition: str | None = None
    account: str | None = None
    mem: str | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    gpu: str | None = None
    bind: str | None = None
    interface: str | None = None
    scratch: str | None = None
    setup: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The profile in a TOML file; raises InputError naming the file and the key."""
        refuse_special(path)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist; `xctvol cluster init` writes one") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"cannot read {path}: {error}") from error
        return cls.of(table, path)

    @classmethod
    def of(cls, table: Mapping[str, Any], path: Path) -> Self:
        """The profile in a table of values that came from `path`; raises InputError."""
        known = {field.name: field.type for field in fields(cls)}
        unknown = sorted(table.keys() - known)
        if unknown:
            raise InputError(f"{path}: {', '.join(unknown)} is not known; use {', '.join(known)}")
        profile = cls(**{key: _value(path, key, known[key], table[key]) for key in table})
        given = [key for key in ("mem", "mem_per_gpu", "mem_per_cpu") if getattr(profile, key)]
        if len(given) > 1:
            raise InputError(f"{path}: {' and '.join(given)} exclude each other; keep one")
        if min(profile.workers, profile.cpus, profile.warning_s) < 1:
            raise InputError(f"{path}: workers, cpus and warning_s are 1 or more")
        return profile

    def to_json(self) -> dict[str, Any]:
        """What is said, as JSON values: `of` reads it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def _value(path: Path, key: str, kind: Any, value: Any) -> Any:
    """`value` as the field's type; texts are single lines, since each becomes one of a script."""
    if get_origin(kind) is types.UnionType:
        kind = str
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is int and type(value) is int:
        return value
    if kind is str and _is_line(value):
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple) and all(map(_is_line, value)):
        return tuple(value)
    wanted = {int: "a whole number", str: "one line of text"}.get(kind)
    if get_origin(kind) is Literal:
        wanted = " or ".join(map(repr, get_args(kind)))
    raise InputError(f"{path}: {key} is {value!r}; give it {wanted or 'a list of lines of text'}")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and re.search(r"[\r\n\0]", value) is None


def find_profile(folder: Path, named: Path | None = None) -> Path:
    """The profile to use: the named one, that of the folder, or that of the home directory."""
    if named is not None:
        return named
    home = _HOME.expanduser()
    return next((path for path in (folder / FILE_NAME, home) if path.exists()), folder / FILE_NAME)
