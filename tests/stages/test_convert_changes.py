"""convert when the ground moves: sources that change, disks that fill up, memory that is short."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, PlanError
from xctvol.grid import Box
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.units import Spacing
from xctvol.volume import open_volume

SPACING = Spacing(2.0, 0.65, 0.65)
SHAPE = (140, 90, 70)


def write_slice(folder, z, image):
    tifffile.imwrite(folder / f"s_{z:04d}.tif", image)


@pytest.fixture
def scan(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 1 << 16, SHAPE, np.uint16)
    (tmp_path / "scan").mkdir()
    for z, image in enumerate(voxels):
        write_slice(tmp_path / "scan", z, image)
    return tmp_path / "scan", voxels


def source(folder):
    return open_source(folder, spacing=SPACING)


def after(number, what):
    """A listener that does something when so many blocks are done."""

    def listen(progress):
        if progress.block == number:
            what()

    return listen


@pytest.mark.parametrize("changed", [3, 139])
def test_a_file_that_changes_during_the_run_is_named(scan, tmp_path, changed):
    folder, voxels = scan
    plan = convert(source(folder), tmp_path / "a.zarr")
    with pytest.raises(InputError, match=rf"s_{changed:04d}\.tif changed while"):
        plan.run(listen=after(0, lambda: write_slice(folder, changed, voxels[0])))
    assert not (tmp_path / "a.zarr/zarr.json").exists()


def test_a_file_that_changed_before_a_run_is_continued_is_named(scan, tmp_path):
    folder, voxels = scan
    convert(source(folder), tmp_path / "a.zarr").part(1, 3).run()
    write_slice(folder, 3, voxels[0])
    plan = convert(source(folder), tmp_path / "a.zarr")
    (warning,) = (note for note in plan.notes if note.startswith("WARNING"))
    assert "s_0003.tif changed since it was converted" in warning
    with pytest.raises(PlanError, match="is unfinished and was started with other source"):
        plan.run()
    expected = voxels.copy()
    expected[3] = voxels[0]
    volume = plan.overwrite().run()
    np.testing.assert_array_equal(volume.read(Box.whole(SHAPE)), expected)


def test_a_file_that_vanishes_is_named(scan, tmp_path):
    folder, _ = scan
    plan = convert(source(folder), tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"s_0130\.tif does not exist"):
        plan.run(listen=after(0, (folder / "s_0130.tif").unlink))


@pytest.fixture
def small_disk(tmp_path, scan):
    """A file system with room for the voxels, but not for what else there is to write."""
    _, voxels = scan
    place = tmp_path / "disk"
    place.mkdir()
    size = f"size={voxels.nbytes + 8192}"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_run_cleanly_and_room_continues_it(scan, small_disk):
    folder, voxels = scan
    target = small_disk / "a.zarr"
    arguments = ["convert", str(folder), str(target), "--spacing", "2um", "--cluster", "serial"]
    stopped = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert stopped.exit_code == 4, stopped.stderr
    (line,) = stopped.stderr.strip().splitlines()
    assert "the disk is full" in line
    assert "run the same command again" in line
    left = [file for file in target.rglob("*") if file.is_file()]
    assert not [file for file in left if file.name.endswith(".partial")]
    done = list((target / ".xctvol/slabs").glob("*.json"))
    assert 0 < len(done) < 3
    times = {file: file.stat().st_mtime_ns for file in target.glob("0/c/*/*/*")}
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert CliRunner().invoke(app, [*arguments, "--quiet"]).exit_code == 0
    np.testing.assert_array_equal(open_volume(target).read(Box.whole(SHAPE)), voxels)
    kept = target / "0/c/0/0/0"
    assert kept.stat().st_mtime_ns == times[kept]


MEASURED = """
import pathlib, re, sys
import xctvol as xv
source = xv.open_source(sys.argv[1], spacing=xv.Spacing(2.0, 2.0, 2.0))
plan = xv.convert(source, sys.argv[2], window=sys.argv[3])
plan.run()
status = pathlib.Path("/proc/self/status").read_text()  # getrusage counts the parent's too
print(plan.peak_memory, 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize("window", ["none", "0.1%,99.9%"])
def test_memory_stays_within_what_was_planned_however_long_the_scan_is(tmp_path, window):
    slab = np.random.default_rng(0).normal(30000, 900, (64, 512, 768)).astype(np.uint16)
    peaks = []
    for slabs in (1, 8):
        scan = tmp_path / f"a_768x512x{64 * slabs}_uint16_le.raw"
        with open(scan, "wb") as file:
            for _ in range(slabs):
                file.write(slab.data)
        command = [sys.executable, "-c", MEASURED, scan, tmp_path / f"{slabs}.zarr", window]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        planned, peak = map(int, run.stdout.split())
        assert peak <= planned
        peaks.append(peak)
    assert abs(peaks[1] - peaks[0]) < slab.nbytes / 2
