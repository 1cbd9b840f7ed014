"""Runs each verb while one of its files is on a disk that fails, and again when it is well.

    unshare --mount python failing_disk.py INPUTS WORK

The disk is a loop device whose file is cut, so that reads fail as those of a broken disk do: with
EIO, in the middle of a file. It is mounted where only this process sees it. Prints what came of it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from xctvol.cli import app

NO_MOUNTS = 77
DISK_BYTES = 1 << 24
LEFT_BYTES = 1 << 17
FORMAT = ("-O", "^has_journal", "-I", "256")  # large inodes hold times to the nanosecond


class Disk:
    """A file system in a file."""

    def __init__(self, folder):
        self._image, self.place = folder / "image", folder / "disk"
        self.place.mkdir()
        self._image.touch()
        os.truncate(self._image, DISK_BYTES)
        for command in (["mkfs.ext4", "-q", "-F", *FORMAT], ["mount", "-o", "loop"]):
            where = [self.place] if command[0] == "mount" else []
            done = subprocess.run([*command, self._image, *where], capture_output=True, text=True)
            if done.returncode:
                sys.stderr.write(done.stderr)
                sys.exit(NO_MOUNTS)

    def hold(self, file):
        """Keep the content of a file, in whose place a link to it is left."""
        held = self.place / "held"
        shutil.copy2(file, held)
        os.sync()
        with open(held, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.unlink()
        file.symlink_to(held)
        self._content = self._image.read_bytes()
        os.truncate(self._image, LEFT_BYTES)

    def heal(self):
        with open(self._image, "r+b") as image:
            image.write(self._content)


def digests(folder):
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def call(*words):
    return CliRunner().invoke(app, [*map(str, words), "--cluster", "serial", "--quiet"])


def convert(work):
    return work / "scan/s_0150.tif", work / "out", (work / "scan", work / "out/b.zarr")


def segment(work):
    words = (work / "scan.zarr", work / "model.safetensors", "--labels", "again")
    return work / "scan.zarr/0/c/2/0/0", work / "scan.zarr/labels/again", words


def measure(work):
    return work / "scan.zarr/labels/tissue/0/c/2/0/0", work / "t", (
        work / "scan.zarr", "--labels", "tissue", "--output", work / "t",
    )  # fmt: skip  # its words side by side


def verify(work):
    return work / "scan.zarr/0/c/2/0/0", work / "none", (work / "scan.zarr",)


def trouble(verb, inputs, folder):
    """What a verb says while its disk fails, and what then."""
    disk, place = Disk(folder), folder / "inputs"  # twice the same, since products name it
    file, out, words = verb(place)
    shutil.copytree(inputs, place)
    well = call(verb.__name__, *words)
    assert well.exit_code == 0, well.output
    undisturbed = digests(out)
    shutil.rmtree(place)
    shutil.copytree(inputs, place)
    disk.hold(file)
    failed = call(verb.__name__, *words)
    disk.heal()
    then = call(verb.__name__, *words)
    return {
        "code": failed.exit_code, "message": failed.stderr, "file": str(file),
        "then": then.exit_code, "equal": digests(out) == undisturbed,
    }  # fmt: skip  # a table


def main():
    inputs, work = map(Path, sys.argv[1:])
    said = []
    for verb in (convert, segment, measure, verify):
        (work / verb.__name__).mkdir(parents=True)
        said.append(trouble(verb, inputs, work / verb.__name__))
    sys.stdout.write("\n" + json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
