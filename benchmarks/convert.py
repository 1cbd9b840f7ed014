"""What converting costs: against the bare codec, against other writers, in memory, at scale.

    python benchmarks/convert.py                # all but scale, a quarter of an hour
    python benchmarks/convert.py codec reads    # only these
    python benchmarks/convert.py scale --gigabytes 24

Prints Markdown. Peers that are not installed are left out (pip install ome-zarr ngff-zarr).
Contestants take turns, and the median of the rounds counts: on a machine that others use, trust
ratios and processor time.
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
import tifffile
import zarr
from numcodecs.zstd import Zstd
from scans import SPACING, Endless, stack

import xctvol as xv
from xctvol.grid import Box, Grid
from xctvol.volume import Codec, Image, halve_grey, layout_of

SECTIONS = ("codec", "threads", "writers", "stacks", "reads", "memory")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, "scale", []], metavar="SECTION",
        help=f"{', '.join(SECTIONS)}, all of these by default; or scale",
    )  # fmt: skip  # one argument
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--side", type=int, help="of slices: 1280, memory 1024, scale 2048")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=24)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.sections == ["scale"]:
            scale_run(Path(folder), arguments.gigabytes, arguments.side or 2048)
            return
        voxels = stack(arguments.slices, arguments.side or 1280)
        bench = Bench(Path(folder), arguments.rounds, voxels)
        for section in arguments.sections or SECTIONS:
            if section == "memory":
                print_memory(Path(folder), arguments.side or 1024)
            else:
                getattr(bench, section)()


def print_machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    names = ("numpy", "numcodecs", "zarr", "tensorstore", "dask", "ome-zarr", "ngff-zarr")
    found = ", ".join(f"{n} {metadata.version(n)}" for n in names if installed(n))
    processors = len(os.sched_getaffinity(0))
    print(f"{date.today()}, {processors} processors ({cpu[1] if cpu else platform.machine()})")
    print(f"\nload of others at the start {os.getloadavg()[0]:.1f}; {found}\n")


def installed(name):
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> "Cost":
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return cls(time.perf_counter() - wall, time.process_time() - cpu)


class Bench:
    def __init__(self, folder, rounds, voxels):
        self.folder, self.rounds, self.voxels = folder, rounds, voxels
        self.layout = layout_of(voxels.shape)
        (folder / "slices").mkdir()
        for z, image in enumerate(voxels):
            tifffile.imwrite(folder / "slices" / f"s_{z:05d}.tif", image)

    def measure(self, contestants):
        """Median cost of each, the contestants taking turns."""
        costs = {name: [] for name in contestants}
        for _ in range(self.rounds):
            for name, work in contestants.items():
                shutil.rmtree(self.folder / "out", ignore_errors=True)
                costs[name].append(Cost.of(work))
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        middle = statistics.median
        return {
            name: Cost(middle(c.wall_s for c in each), middle(c.cpu_s for c in each))
            for name, each in costs.items()
        }

    def table(self, title, costs, ours="xctvol"):
        megabytes = self.voxels.nbytes / 1e6
        print(f"**{title}** ({megabytes:.0f} MB)\n")
        print("| | wall s | CPU s | MB/s | wall / xctvol's | CPU / xctvol's |")
        print("|---|---|---|---|---|---|")
        base = costs[ours]
        for name, cost in costs.items():
            print(
                f"| {name} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {megabytes / cost.wall_s:.0f} "
                f"| {cost.wall_s / base.wall_s:.2f} | {cost.cpu_s / base.cpu_s:.2f} |"
            )
        print()

    def slabs(self):
        return [block.write for block in self.layout.slabs]

    def image(self):
        return Image(self.folder / "out", self.voxels.shape, self.voxels.dtype, Codec("zstd"))

    def write_all_levels(self):
        image = self.image()
        for box in self.slabs():
            image.write(box.start[0], self.voxels[box.slices], halve_grey)

    def codec(self):
        chunks = list(self.chunks())
        codec = Zstd(level=1)
        costs = with_threads(1, lambda: self.measure({
            "bare zstd-1 of all chunks of all levels": lambda: [codec.encode(c) for c in chunks],
            "xctvol": self.write_all_levels,
        }))  # fmt: skip  # two contestants
        self.table("Shards and pyramid against the bare codec, one thread", costs)
        bare, ours = costs.values()
        print(
            f"CPU of a sharded write with pyramid: {ours.cpu_s / bare.cpu_s:.2f} of the codec's\n"
        )

    def chunks(self):
        levels = [self.voxels]
        while len(levels) < len(self.layout.levels):
            levels.append(halve_grey(levels[-1]))
        for level, voxels in zip(self.layout.levels, levels, strict=True):
            for block in Grid(voxels.shape, level.chunk):
                chunk = np.zeros(level.chunk, voxels.dtype)
                part = voxels[block.write.slices]
                chunk[tuple(slice(n) for n in part.shape)] = part
                yield chunk

    def threads(self):
        one = with_threads(1, lambda: self.measure({"one": self.write_all_levels}))["one"]
        two = self.measure({"all": self.write_all_levels})["all"]
        count = len(os.sched_getaffinity(0))
        gain = one.wall_s / two.wall_s
        print(
            f"{count} threads take {two.wall_s:.2f} s for what one does in {one.wall_s:.2f} s: "
            f"{gain:.2f} times faster, {gain / count:.2f} a thread\n"
        )

    def writers(self):
        """The same voxels from memory into the same shards, level 0 only."""

        def ours():
            image = self.image()
            for box in self.slabs():
                image.write_levels(box.start[0], [self.voxels[box.slices]])
            image.levels[0].write_metadata({})

        def by_zarr():
            array = self.zarr_array(self.folder / "out")
            for box in self.slabs():
                array[box.slices] = self.voxels[box.slices]

        def by_tensorstore():
            self.zarr_array(self.folder / "out")
            array = open_tensorstore(self.folder / "out")
            for box in self.slabs():
                array[box.slices].write(self.voxels[box.slices]).result()

        contestants = {"xctvol": ours, "zarr-python, sharded": by_zarr}
        if installed("tensorstore"):
            contestants["tensorstore"] = by_tensorstore
        self.table("Writers of level 0 from memory, all processors", self.measure(contestants))

    def zarr_array(self, path, level=0):
        level = self.layout.levels[level]
        return zarr.create_array(
            path, shape=level.shape, dtype=self.voxels.dtype, chunks=level.chunk,
            shards=level.shard, compressors=[zarr.codecs.ZstdCodec(level=1)],
        )  # fmt: skip  # six short arguments

    def stacks(self):
        """From slices on disk to a volume; all with a pyramid but the first of dask's."""
        source = xv.open_source(self.folder / "slices", spacing=SPACING)
        contestants = {"xctvol": lambda: xv.convert(source, self.folder / "out").run()}
        contestants["dask imread, rechunk, store (no pyramid)"] = self.by_dask
        contestants["dask, then coarsen and store each level"] = self.by_dask_with_pyramid
        if installed("ome-zarr"):
            contestants["ome-zarr write_image"] = self.by_ome_zarr
        if installed("ngff-zarr"):
            contestants["ngff-zarr"] = self.by_ngff_zarr
        self.table("A stack of TIFF slices to a volume, all processors", self.measure(contestants))

    def imread(self):
        return import_module("dask.array.image").imread(str(self.folder / "slices/*.tif"))

    def by_dask(self):
        array = self.imread().rechunk(self.layout.levels[0].shard)
        array.store(self.zarr_array(self.folder / "out"), lock=False)

    def by_dask_with_pyramid(self):
        """Each level is made of the one before, which is read back."""
        dask = import_module("dask.array")
        array = self.imread()
        for number, level in enumerate(self.layout.levels):
            if number:
                halved = dask.coarsen(np.mean, array, dict.fromkeys(range(3), 2))
                array = halved.astype(self.voxels.dtype)
            stored = self.zarr_array(self.folder / "out" / str(number), number)
            array.rechunk(level.shard).store(stored, lock=False)
            array = dask.from_array(stored, chunks=level.shard)

    def by_ome_zarr(self):
        writer = import_module("ome_zarr.writer")
        group = zarr.open_group(self.folder / "out", mode="w")
        chunks = self.layout.levels[0].chunk
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer.write_image(self.imread(), group, axes="zyx", storage_options={"chunks": chunks})

    def by_ngff_zarr(self):
        ngff = import_module("ngff_zarr")
        chunks = dict(zip("zyx", self.layout.levels[0].chunk, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = ngff.to_ngff_image(self.imread(), dims=list("zyx"))
            scales = ngff.to_multiscales(
                image, [2**n for n in range(1, len(self.layout.levels))], chunks=chunks
            )
            ngff.to_ngff_zarr(str(self.folder / "out"), scales, version="0.5")

    def reads(self):
        path = self.folder / "read"
        source = xv.open_source(self.folder / "slices", spacing=SPACING)
        volume = xv.convert(source, path).run()
        out = np.empty(self.slabs()[0].shape, self.voxels.dtype)

        def ours():
            for box in self.slabs():
                volume.levels[0].read_into(box, out[: box.shape[0]])

        def by_zarr():
            array = zarr.open_array(path / "0", mode="r")
            for box in self.slabs():
                array[box.slices]

        contestants = {"xctvol": ours, "zarr-python": by_zarr}
        if installed("tensorstore"):
            array = open_tensorstore(path / "0")
            contestants["tensorstore"] = lambda: [
                array[box.slices].read().result() for box in self.slabs()
            ]
        costs = self.measure(contestants)
        self.table("Slabs of 64 slices read back, all processors", costs)
        self.table("The same, one thread", with_threads(1, lambda: self.measure(
            {name: contestants[name] for name in ("xctvol", "zarr-python")}
        )))  # fmt: skip  # two contestants


def open_tensorstore(path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    return import_module("tensorstore").open(spec).result()


def with_threads(count, work):
    """With the threads of this package limited; xctvol reads the variable at every use."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        return work()
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


MEASURED = """
import pathlib, re, sys
import xctvol as xv
plan = xv.convert(xv.open_source(sys.argv[1], spacing=xv.Spacing(2, 2, 2)), sys.argv[2],
                  window=sys.argv[3])
plan.run()
status = pathlib.Path("/proc/self/status").read_text()
print(plan.peak_memory, 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]))
"""


def print_memory(folder, side):
    """Peak memory of a process that converts, planned and measured, for N and 10 N slices."""
    slab = stack(64, side)
    print(f"**Memory of the process, {side} x {side} uint16**\n")
    print("| slices | window | slab MB | planned MB | measured MB |\n|---|---|---|---|---|")
    for slabs in (1, 10):
        scan = folder / f"a_{side}x{side}x{64 * slabs}_uint16_le.raw"
        with open(scan, "wb") as file:
            for _ in range(slabs):
                file.write(slab.data)
        for window in ("none", "0.1%,99.9%"):
            command = [sys.executable, "-c", MEASURED, scan, folder / "memory", window]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            planned, peak = (int(number) / 1e6 for number in run.stdout.split())
            size = slab.nbytes / 1e6
            print(f"| {64 * slabs} | {window} | {size:.0f} | {planned:.0f} | {peak:.0f} |")
            shutil.rmtree(folder / "memory")
        scan.unlink()
    print()


def scale_run(folder, gigabytes, side):
    """Convert a scan of so many GB on all processors; the rate must not fall on the way."""
    slices = int(gigabytes * 1e9 / (2 * side * side)) // 64 * 64
    np.save(folder / "made.npy", stack(16, side))
    source = Endless(folder / "made.npy", (slices, side, side))
    plan = xv.convert(source, folder / "a.zarr")
    times = []
    status = Path("/proc/self/status")
    start = time.perf_counter()
    volume = plan.run(listen=lambda _: times.append(time.perf_counter() - start))
    took = time.perf_counter() - start
    slab = 64 * side * side * 2 / 1e6
    tenth = max(1, len(times) // 10)
    first, last = times[tenth - 1], times[-1] - times[-1 - tenth]
    files = [file for file in volume.path.rglob("*") if file.is_file()]
    stored = sum(file.stat().st_size for file in files) / 1e9
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1e3
    print(
        f"**{slices} slices of {side} x {side} uint16, {slices * side * side * 2 / 1e9:.1f} GB**\n"
    )
    print("| | |\n|---|---|")
    print(f"| time | {took:.0f} s, {slices * side * side * 2 / 1e6 / took:.0f} MB/s |")
    print(f"| rate of the first tenth | {slab * tenth / first:.0f} MB/s |")
    print(f"| rate of the last tenth | {slab * tenth / last:.0f} MB/s |")
    print(f"| peak memory, planned | {peak:.0f} MB, {plan.peak_memory / 1e6:.0f} MB |")
    print(f"| files, size | {len(files)}, {stored:.1f} GB |")
    check = volume.read(Box((slices - 1, 0, 0), (slices, side, side)))
    expected = np.empty_like(check)
    source.read_into(slices - 1, slices, expected)
    print(f"| last slice equals the source | {bool((check == expected).all())} |")


if __name__ == "__main__":
    main()
