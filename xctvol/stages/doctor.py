"""doctor: what this machine has for a run, what is missing, and how to get it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from xctvol.resources import available_memory, free_disk, thread_budget
from xctvol.units import format_bytes

__all__ = ["examine"]


def examine(folder: Path) -> dict[str, Any]:
    """Facts by name; every line that needs something done says what."""
    return {
        "xctvol": version("xctvol"),
        "python": platform.python_version(),
        "packages": _packages(),
        "processors": f"{thread_budget()} usable of {os.cpu_count()}",
        "memory": f"{format_bytes(available_memory())} available",
        "disk": f"{format_bytes(free_disk(folder))} free for {folder.absolute()}",
        "gpus": _gpus(),
    }


def _packages() -> list[str]:
    """Installed versions of what xctvol depends on."""
    needed = [line for line in requires("xctvol") or [] if "extra ==" not in line]
    lines = []
    for requirement in sorted(needed):
        name = _name(requirement)
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} MISSING: pip install '{requirement}'")
    return lines


def _name(requirement: str) -> str:
    for position, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:position]
    return requirement


def _gpus() -> list[str]:
    try:
        from xctvol.model.devices import describe_gpus, device_called, learning_precision
    except (ImportError, RuntimeError) as error:  # torchvision without the torch it was built for
        return [f"torch cannot be imported ({error}): reinstall torch and torchvision together"]
    found = describe_gpus()
    learns = f"{learning_precision(device_called('cpu'))} where they learn"
    return found or [
        f"none: networks run on the CPU, in {learns}; for a GPU install its driver and a CUDA torch"
    ]
