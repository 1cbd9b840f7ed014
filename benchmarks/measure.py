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
from scipy import ndimage

from xctvol.labels import Labels, open_labels
from xctvol.materials import Materials
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.measure import measure
from xctvol.units import Spacing
from xctvol.volume import Image, default_codec, halve_labels, image_label

SIDE = 256
SPACING = Spacing(0.65, 0.65, 0.65)
SECONDS = 120  # after which a peer is given up
GOALS = {"blobs": (60, 326), "classes": (25, 115)}
"""Mvoxel/s wanted, and those of cc3d's labels on the processor where that was decided, a Zen4."""
OURS, YARDSTICK = "xctvol measure", "cc3d, labels alone"


def blobs() -> np.ndarray:
    """Smooth blobs that fill 30 %."""
    noise = ndimage.gaussian_filter(_noise(0), 2)
    return (noise > np.quantile(noise, 0.7)).astype(np.uint8)


def classes() -> np.ndarray:
    """Six classes in thin layers with 0.2 % salt: four of five cells hold a border."""
    noise = ndimage.gaussian_filter(_noise(1), 2)
    values = np.digitize(noise, np.quantile(noise, np.arange(1, 6) / 6)).astype(np.uint8) + 1
    random = np.random.default_rng(2)
    salt = random.random(values.shape) < 0.002
    values[salt] = random.integers(1, 7, salt.sum())
    return values


def leaf() -> np.ndarray:
    """The six materials of the phantom."""
    values = np.empty((SIDE,) * 3, np.uint8)
    Phantom((SIDE,) * 3, Spacing(2, 2, 2)).labels_into(0, SIDE, values)
    return values


VOLUMES = {"blobs": blobs, "classes": classes, "leaf": leaf}


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((SIDE,) * 3, np.float32)


def write(path: Path, values: np.ndarray) -> Labels:
    image = Image(path, values.shape, values.dtype, default_codec(values.dtype))
    for slab in image.layout.slabs:
        image.write(slab.write.start[0], values[slab.write.slices].copy(), halve_labels)
    return _finish(image, Materials.numbered([int(v) for v in np.unique(values) if v]))


def _finish(image: Image, materials: Materials) -> Labels:
    own = {"materials": materials.to_json()}
    image.finish(SPACING, {"image-label": image_label(materials, None)}, own)
    return open_labels(image.path)


# --- peers: each gives what its columns say, from an array in memory ---


def ours(values: np.ndarray) -> None:
    """Everything, from the files of a volume to the files of tables."""
    folder = Path(tempfile.gettempdir()) / f"measure-{os.getpid()}"
    labels = folder / "labels.zarr"
    if not labels.exists():
        write(labels, values)
    shutil.rmtree(folder / "tables", ignore_errors=True)
    measure(open_labels(labels), folder / "tables").run()


def ours_in_memory(values: np.ndarray) -> None:
    """All columns of all tables from an array: one block, as every worker measures it."""
    from xctvol.grid import Block, Box
    from xctvol.stages.measure import properties
    from xctvol.stages.measure.block import HALO, PADDING, Subject, measure_block
    from xctvol.stages.measure.surface import cell_table
    from xctvol.stages.measure.totals import total

    around = np.pad(values, list(zip(HALO, PADDING, strict=True)))
    core, subject = Box.whole(values.shape), Subject(values.shape, 26)
    materials = Materials.numbered(range(1, int(values.max()) + 1))
    measures, _ = measure_block(around, None, core, cell_table(SPACING), subject)
    measures = measures.of(materials.labels)
    found = measures, np.empty((0, 3), np.int64)
    totals = total(subject, materials.labels, [Block(0, core, core)], lambda _: found)
    shape = values.shape
    properties.region_columns(measures.closed, 1, shape, SPACING, materials)
    properties.material_columns(totals, shape, SPACING, materials, materials.names)
    properties.slice_columns(totals, SPACING, materials)
    properties.interface_columns(totals, SPACING, materials)


def skimage(values: np.ndarray) -> None:
    from skimage.measure import label, regionprops_table

    regions = label(values, connectivity=3, background=0)
    names = ("num_pixels", "bbox", "centroid", "inertia_tensor_eigvals", "axis_major_length")
    names += ("axis_minor_length", "equivalent_diameter_area", "extent", "euler_number")
    regionprops_table(regions, properties=names, spacing=SPACING.zyx)


def cc3d_alone(values: np.ndarray) -> None:
    import cc3d

    cc3d.connected_components(values, connectivity=26, out_dtype=np.uint32)


def xctvol_alone(values: np.ndarray) -> None:
    from xctvol.stages.measure.labelling import label_block

    label_block(values, 26)


def cc3d(values: np.ndarray) -> None:
    import cc3d

    regions = cc3d.connected_components(values, connectivity=26)
    cc3d.statistics(regions)
    cc3d.contacts(regions, connectivity=26)


def scipy(values: np.ndarray) -> None:
    for value in range(1, int(values.max()) + 1):
        regions, count = ndimage.label(values == value, np.ones((3, 3, 3)))
        ndimage.find_objects(regions)
        ndimage.center_of_mass(regions > 0, regions, range(1, count + 1))


def simpleitk(values: np.ndarray) -> None:
    import SimpleITK as sitk  # noqa: N813 - as its own documents call it

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for value in range(1, int(values.max()) + 1):
        mask = sitk.GetImageFromArray((values == value).astype(np.uint8))
        regions = sitk.ConnectedComponent(mask, True)
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.ComputePerimeterOn()
        statistics.Execute(regions)


def dask_image(values: np.ndarray) -> None:
    import dask
    import dask.array
    from dask_image.ndmeasure import label

    with dask.config.set(scheduler="single-threaded"):
        for value in range(1, int(values.max()) + 1):
            chunks = dask.array.from_array(values == value, chunks=128)
            regions, count = label(chunks, structure=np.ones((3, 3, 3)))
            dask.compute(regions, count)


PEERS: dict[str, tuple[Callable[[np.ndarray], None], str]] = {
    OURS: (ours, "all tables, from files to files"),
    YARDSTICK: (cc3d_alone, "labels only, from an array"),
    "xctvol, labels alone": (xctvol_alone, "labels only, from an array"),
    "xctvol, one block in memory": (ours_in_memory, "all columns, from an array"),
    "scikit-image label + regionprops_table": (skimage, "volume, box, centroid, inertia, Euler"),
    "cc3d + statistics + contacts": (cc3d, "volume, box, centroid, faces of regions"),
    "SimpleITK, a material at a time": (simpleitk, "volume, box, centroid, shape, Crofton surface"),
    "scipy label, a material at a time": (scipy, "box, centroid"),
    "dask-image label, a material at a time": (dask_image, "labels only"),
}


def peers(*beginnings: str) -> None:
    print(f"| {SIDE}^3 voxels, 26-connected | gives | " + " | ".join(VOLUMES) + " |")
    print("|---|---|" + "---|" * len(VOLUMES))
    found: dict[tuple[str, str], str] = {}
    for name, (_, gives) in PEERS.items():
        if name.startswith(beginnings or ""):
            cells = [_alone("one-peer", name, volume) for volume in VOLUMES]
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


def one_peer(name: str, volume: str) -> None:
    values, work = VOLUMES[volume](), PEERS[name][0]
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


def workers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = np.tile(blobs(), (2, 2, 2))
        write(Path(folder) / "labels.zarr", values)
        alone = _shared(folder, 1)
        both = _shared(folder, 2)
    print("| blobs, 512^3, from files to sums | wall s | Mvoxel/s | processor s | Mvoxel/s each |")
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
    base = Image(path.with_name("base.zarr"), phantom.shape, np.dtype(np.uint8), _codec())
    if not base.path.exists():
        slab = np.empty((64, side, side), np.uint8)
        for z0 in range(0, distinct, 64):
            phantom.labels_into(z0, z0 + 64, slab)
            base.write_levels(z0, [slab])
    image = Image(path, (slices, side, side), np.dtype(np.uint8), _codec())
    shards = base.levels[0].path / "c"
    for slab_number in range(slices // 64):
        source = shards / str(slab_number % (distinct // 64))
        for shard in source.glob("*/*"):
            link = image.levels[0].path / "c" / str(slab_number) / shard.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(shard, link)
    return _finish(image, PHANTOM_MATERIALS)


def _codec():
    return default_codec(np.dtype(np.uint8))


def memory() -> None:
    print("| leaf, y = x = 512 | peak MB | planned MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for slices in (128, 1280):
            repeated_leaf(Path(folder) / f"{slices}.zarr", slices, 512, 128)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["peers", "workers", "memory", "scale", *_ALONE])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--gvoxel", type=float, default=10.0)
    parser.add_argument("--side", type=int, default=1024)
    asked = parser.parse_args()
    if asked.what in _ALONE:
        _ALONE[asked.what](*asked.arguments)
        return
    print(machine() + "\n")
    if asked.what == "scale":
        scale(asked.gvoxel, asked.side)
    else:
        {"peers": peers, "workers": workers, "memory": memory}[asked.what](*asked.arguments)


_ALONE = {"one-peer": one_peer, "one-share": one_share, "one-run": one_run}

if __name__ == "__main__":
    main()
