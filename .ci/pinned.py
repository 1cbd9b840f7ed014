"""Print what xctvol depends on directly, as installed, for pip-audit.

Exit code 75 says that pypi.org, where pip-audit asks for advisories, does not tell any from here.
"""

import itertools
import json
import re
import sys
import tomllib
import urllib.request
from importlib.metadata import version
from pathlib import Path

UNREACHABLE = 75  # EX_TEMPFAIL
_ASKED = "https://pypi.org/pypi/numpy/2.0.0/json"
_TIMEOUT_S = 10


def tells_advisories() -> bool:
    """Mirrors of packages answer too, but with nothing known about vulnerabilities."""
    try:
        with urllib.request.urlopen(_ASKED, timeout=_TIMEOUT_S) as answer:
            return "vulnerabilities" in json.load(answer)
    except (OSError, ValueError):
        return False


def pinned(project: dict) -> list[str]:
    """NAME==VERSION of all dependencies, those of extras too."""
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain(*extras)]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0] for line in wanted}
    # a local version, as of torch for CPUs, is built from the same sources
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(names)]


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join(pinned(project)) + "\n")
    sys.exit(0 if tells_advisories() else UNREACHABLE)
