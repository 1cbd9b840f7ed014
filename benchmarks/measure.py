"""How fast `xctvol measure` is, and how much memory it takes, beside others on the same voxels.

    python benchmarks/measure.py peers      in-memory libraries on 256^3 voxels, and the goals
    python benchmarks/measure.py workers    one process and two
    python benchmarks/measure.py memory     peak and plan, for ten times the slices
    python benchmarks/measure.py scale      a leaf of 10 Gvoxel, repeated from 256 slices

Each prints a Markdown table. Times are processor seconds unless they say wall; every measurement is
the best of three, or one where it says so, in a process of its own that is warm. `peers` takes
beginnings of names, if only some are asked for: `peers xctvol cc3d`.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from peers import OURS, PEERS, SPACING, VOLUMES, YARDSTICK, blobs, finish, write

from xctvol.labels import Labels, open_labels
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.measure import measure
from xctvol.volume import Image, default_codec

SECONDS = 120  # after which a peer is given up
GOALS = {"blobs": (60, 326), "classes": (25, 115)}
"""Mvoxel/s wanted, and those of cc3d's labels on the processor where that was decided, a Zen4."""


# --- peers ---


def peers(*beginnings: str, side: int) -> None:
    print(f"| {side}^3 voxels, 26-connected | gives | " + " | ".join(VOLUMES) + " |")
    print("|---|---|" + "---|" * len(VOLUMES))
    found: dict[tuple[str, str], str] = {}
    for name, (_, gives) in PEERS.items():
        if name.startswith(beginnings or ""):
            cells = [_alone("one-peer", name, volume, str(side)) for volume in VOLUMES]
            print(f"| {name} | {gives} | " + " | ".join(cells) + " |", flush=True)
            found |= {(name, volume): cell for volume, cell in zip(VOLUMES, cells, strict=True)}
    if {name for name, _ in found} >= {OURS, YARDSTICK}:
        print()
        goals(lambda name, volume: float(found[name, volume].split()[0]))


def goals(rate: Callable[[str, str], float]) -> None:
    """What was reached of the goals, in Mvoxel/s and beside a library that does a part of it."""
    print("| Mvoxel/s | wanted | reached | cc3d alone | share wanted | share reached |")
    print("|---|---|---|---|---|---|")
    for volume, (wanted, base) in GOALS.items():
        reached, alone = rate(OURS, volume), rate(YARDSTICK, volume)
        shares = f"{wanted / base:.2f} | {reached / alone:.2f}"
        print(f"| {volume} | {wanted} | {reached:.1f} | {alone:.0f} | {shares} |")
    missed = [volume for volume, (wanted, _) in GOALS.items() if rate(OURS, volume) < wanted]
    print(f"\nmissed on this processor, in Mvoxel/s: {', '.join(missed) or 'none'}")


def _alone(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * SECONDS)
    except subprocess.TimeoutExpired:
        return f"not within {4 * SECONDS} s"
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().split("\n")[-1]


def one_peer(name: str, volume: str, side: str) -> None:
    values, work = VOLUMES[volume](int(side)), PEERS[name][0]
    spent: list[float] = []
    while len(spent) < 4 and sum(spent) < SECONDS / 4:
        start = time.process_time()
        work(values)
        spent.append(time.process_time() - start)
    best = min(spent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    shutil.rmtree(Path(tempfile.gettempdir()) / f"measure-{os.getpid()}", ignore_errors=True)
    print(f"{values.size / best / 1e6:.3g} Mvoxel/s, {best:.2f} s, {peak:.0f} MB")


# --- workers: the blocks of one plan, shared by processes that start together ---


def workers(side: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = np.tile(blobs(side), (2, 2, 2))
        write(Path(folder) / "labels.zarr", values)
        alone = _shared(folder, 1)
        both = _shared(folder, 2)
    print(f"| blobs, {2 * side}^3, from files to sums "
          "| wall s | Mvoxel/s | processor s | Mvoxel/s each |")  # fmt: skip
    print("|---|---|---|---|---|")
    for name, (wall, spent) in (("1 process", alone), ("2 processes", both)):
        rates = f"{values.size / wall / 1e6:.0f} | {spent:.1f} | {values.size / spent / 1e6:.0f}"
        print(f"| {name} | {wall:.1f} | {rates} |")
    print(f"\ntwo processes are {alone[0] / both[0]:.2f} times as fast as one")


def _shared(folder: str, count: int) -> tuple[float, float]:
    """Seconds until the last of `count` processes has measured its share of the blocks.

    By the clock, and of processors in all.
    """
    command = [sys.executable, __file__, "one-share", folder]
    shares = [
        subprocess.Popen(
            [*command, str(n), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # as executors set it
            text=True,
        )
        for n in range(count)
    ]
    for share in shares:
        share.stdout.readline()  # warm
    for share in shares:
        share.stdin.write("\n")
        share.stdin.flush()
    walls, spent = zip(
        *(map(float, share.communicate()[0].split()) for share in shares), strict=True
    )
    return max(walls), sum(spent)


def one_share(folder: str, number: str, count: str) -> None:
    plan = measure(open_labels(Path(folder) / "labels.zarr"), Path(folder) / f"{number}-{count}")
    stage = plan.stages[0]
    stage.task(next(iter(stage.blocks)))
    print("warm", flush=True)
    sys.stdin.readline()
    start, spent = time.perf_counter(), time.process_time()
    for block in stage.blocks:
        if block.index % int(count) == int(number):
            stage.task(block)
    print(time.perf_counter() - start, time.process_time() - spent)


# --- memory and scale: a leaf of any depth from few slices, by linking their shards ---


def repeated_leaf(path: Path, slices: int, side: int, distinct: int) -> Labels:
    """Labels of a phantom; whole slabs after the first `distinct` slices are links to them."""
    phantom = Phantom((distinct, side, side), SPACING)
    uint8 = np.dtype(np.uint8)
    codec = default_codec(uint8)
    base = Image(path.with_name("base.zarr"), phantom.shape, uint8, codec)
    if not base.path.exists():
        slab = np.empty((64, side, side), np.uint8)
        for z0 in range(0, distinct, 64):
            phantom.labels_into(z0, z0 + 64, slab)
            base.write_levels(z0, [slab])
    image = Image(path, (slices, side, side), uint8, codec)
    shards = base.levels[0].path / "c"
    for slab_number in range(slices // 64):
        source = shards / str(slab_number % (distinct // 64))
        for shard in source.glob("*/*"):
            link = image.levels[0].path / "c" / str(slab_number) / shard.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(shard, link)
    return finish(image, PHANTOM_MATERIALS)


def memory(side: int) -> None:
    print(f"| leaf, y = x = {side} | peak MB | planned MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for slices in (128, 1280):
            repeated_leaf(Path(folder) / f"{slices}.zarr", slices, side, 128)
            peak, planned = _alone("one-run", folder, str(slices)).split()
            print(f"| {slices} slices | {peak} | {planned} |")


def one_run(folder: str, slices: str) -> None:
    plan = measure(open_labels(Path(folder) / f"{slices}.zarr"), Path(folder) / f"m{slices}")
    plan.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{peak:.0f} {plan.peak_memory / 1e6:.0f}")


def scale(gvoxel: float, side: int) -> None:
    from xctvol.execution import Dask

    slices = -(-int(gvoxel * 1e9) // (64 * side * side)) * 64
    with tempfile.TemporaryDirectory() as folder:
        labels = repeated_leaf(Path(folder) / "leaf.zarr", slices, side, 256)
        plan = measure(labels, Path(folder) / "tables")
        watch = _Watch(labels.volume.levels[0].shape, len(plan.stages[0].blocks))
        start = time.perf_counter()
        tables = plan.run(Dask(2), watch)
        wall = time.perf_counter() - start
        watch.stop()
        regions = len(tables.region_columns("label"))
        print(plan)
    voxels = slices * side * side
    print(f"| leaf, {slices} x {side} x {side} = {voxels / 1e9:.1f} Gvoxel | |\n|---|---|")
    print(f"| wall, all | {wall:.0f} s, {voxels / wall / 1e6:.0f} Mvoxel/s on two processes |")
    print(f"| rate by quarters of the blocks, Mvoxel/s | {watch.rates()} |")
    print(f"| joining and tables | {wall - watch.linked:.1f} s, {1 - watch.linked / wall:.1%} |")
    print(f"| largest worker by quarters, MB | {watch.memory()} |")
    print(f"| planned a worker, MB | {plan.peak_memory / 1e6:.0f} |")
    print(f"| regions | {regions} |")


class _Watch:
    """When blocks were done, and how large the largest worker process was then."""

    def __init__(self, shape: tuple[int, int, int], blocks: int) -> None:
        self.voxels, self.blocks = float(np.prod(shape, dtype=np.int64)), blocks
        self.start, self.done, self.linked, self.peaks = time.perf_counter(), [], 0.0, []
        self.running = True
        threading.Thread(target=self._look, daemon=True).start()

    def __call__(self, progress) -> None:
        now = time.perf_counter() - self.start
        if progress.stage.name == "measure":
            self.done.append(now)
        self.linked = now

    def stop(self) -> None:
        self.running = False

    def rates(self) -> str:
        quarter = len(self.done) // 4
        times = [self.done[0], *(self.done[q * quarter - 1] for q in (1, 2, 3)), self.done[-1]]
        share = self.voxels / 4 / 1e6
        return ", ".join(f"{share / (b - a):.0f}" for a, b in pairwise(times))

    def memory(self) -> str:
        parts = np.array_split([size for _, size in self.peaks], 4)
        return ", ".join(f"{part.max():.0f}" for part in parts)

    def _look(self) -> None:
        while self.running:
            sizes = [_resident(pid) for pid in _descendants(os.getpid())]
            self.peaks.append((time.perf_counter() - self.start, max(sizes, default=0.0)))
            time.sleep(0.5)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        tasks = [p for t in Path(f"/proc/{pid}/task").iterdir()
                 for p in (t / "children").read_text().split()]  # fmt: skip
    except OSError:
        return []
    found = {int(child) for child in [*children, *tasks]}
    return [p for child in found for p in (child, *_descendants(child))]


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS")), 0.0)


def machine() -> str:
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    load = os.getloadavg()[0]
    return json.dumps(
        {
            "processor": names[0],
            "cores": len(names),
            "load before": round(load, 1),
            "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["peers", "workers", "memory", "scale", *_ALONE])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--gvoxel", type=float, default=10.0, help="of scale")
    parser.add_argument("--side", type=int, help="of volumes: 256, memory 512, scale 1024")
    asked = parser.parse_intermixed_args()  # names of peers may follow options
    if asked.what in _ALONE:
        _ALONE[asked.what](*asked.arguments)
        return
    print(machine() + "\n")
    if asked.what == "scale":
        scale(asked.gvoxel, asked.side or 1024)
    elif asked.what == "memory":
        memory(asked.side or 512)
    elif asked.what == "workers":
        workers(asked.side or 256)
    else:
        peers(*asked.arguments, side=asked.side or 256)


_ALONE = {"one-peer": one_peer, "one-share": one_share, "one-run": one_run}

if __name__ == "__main__":
    main()
