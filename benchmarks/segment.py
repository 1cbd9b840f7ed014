"""What segmenting costs around the network; benchmarks/network.py has what the network costs.

    python benchmarks/segment.py pipeline    # a stand-in device that sleeps: what the host can feed
    python benchmarks/segment.py costs       # processor time of each step around the device
    python benchmarks/segment.py tail        # enlarging logits and choosing the largest
    python benchmarks/segment.py disk        # from files to files, against a plain loop

Prints Markdown. Contestants take turns and the best round counts: trust ratios.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import tifffile
import torch
from PIL import Image as Picture
from safetensors.torch import load_file

from xctvol.grid import Box
from xctvol.labels.counting import count_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.decode import Largest, decoded_in_bands, enlarged
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.plan import Serial
from xctvol.sources.phantom import Phantom
from xctvol.stages.segment import device as segment_device
from xctvol.stages.segment import segment
from xctvol.units import Spacing
from xctvol.volume import Codec, Image, Window, halve_grey, halve_labels, open_volume

MATERIALS = Materials.numbered(list(range(1, 7)))
SPACING = Spacing(1.0, 1.0, 1.0)


def main():
    sections = {f.__name__: f for f in (pipeline, costs, tail, disk)}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="+", choices=sections)
    parser.add_argument("--slices", type=int, default=1024, help="of the scan")
    parser.add_argument("--side", type=int, help="of slices: 2560, disk 512")
    parser.add_argument("--precisions", default="fp32", help="of disk; bf16 where a CPU has it")
    parser.add_argument("--cases", default="10,20", help="ms a slice of the stand-in device")
    parser.add_argument("--codec", default="zstd", choices=("zstd", "lz4"), help="of the scan")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"{len(os.sched_getaffinity(0))} processors ({cpu[1]}), torch {torch.__version__}, "
          f"load of others at the start {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    for section in arguments.sections:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            sections[section](Path(folder), arguments)


def best(rounds, clock=time.perf_counter, /, **contestants):
    """Seconds of each in its best round."""
    seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
    return {name: min(found) for name, found in seconds.items()}


@dataclass(frozen=True)
class Sleeps:
    """A device that takes `slice_s` a slice and gives labels that were made before."""

    slice_s: float
    labels_file: Path
    device: str = "cpu"
    needed_bytes: int = 0

    def open(self):
        return _Asleep(self.slice_s, np.load(self.labels_file, mmap_mode="r"))


@dataclass(frozen=True)
class _Asleep:
    """Copies labels into memory that does not hold them yet: a GPU writes without a processor."""

    slice_s: float
    found: np.ndarray

    def labels_into(self, slices, grey, out):
        end = time.perf_counter() + self.slice_s * len(slices)
        found = self.found[: len(slices)]
        if not np.array_equal(out[:, ::64], found[:, ::64]):
            out[...] = found
        time.sleep(max(0.0, end - time.perf_counter()))


class Flat(Image):
    """An image without its pyramid."""

    def halvings(self, slab, halve):
        return [slab]


def pipeline(folder, arguments):
    volume = large_scan(folder, arguments.slices, arguments.codec, arguments.side or 2560)
    model = model_file(folder, "unet")
    print("| device | pyramid | device time / wall | device busy | ms a slice | CPU ms a slice "
          "| share of the processors |\n" + 7 * "|---" + "|")  # fmt: skip
    for ms in map(float, arguments.cases.split(",")):
        for image_type in (Flat, Image):
            shutil.rmtree(volume.path / "labels", ignore_errors=True)
            run_pipeline(volume, model, folder, ms, image_type)


def run_pipeline(volume, model, folder, ms, image_type, slots=3):
    plan = segment(volume, model, device="cpu")
    (stage,) = plan.stages
    whole = stage.task.image
    image = image_type(whole.path, whole.shape, whole.dtype, whole.codec)
    prediction = Sleeps(ms / 1000, folder / "labels.npy")
    stage = replace(stage, task=replace(stage.task, image=image, prediction=prediction))
    stage = replace(stage, slots=slots)
    taken = {}

    def listen(event):
        if event.usage is not None:
            taken[event.block] = event.usage

    wall, cpu = time.perf_counter(), time.process_time()
    with patch.object(segment_device, "_SLICES_AT_ONCE", 8), Serial().session(slots) as run:
        run(stage, stage.pending(), listen)  # as many at once as a GPU gets
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    slices = volume.shape[0]
    busy = sum(usage.device_s for usage in taken.values()) / wall
    share = cpu / wall / len(os.sched_getaffinity(0))
    print(f"| {ms:g} ms | {'no' if image_type is Flat else 'yes'} "
          f"| {slices * ms / 1000 / wall:.3f} | {busy:.3f} | {1000 * wall / slices:.1f} "
          f"| {1000 * cpu / slices:.1f} | {share:.2f} |", flush=True)  # fmt: skip


def large_scan(folder, slices, codec, side):
    """A sharded scan of the phantom, one slab written and the others linked to it."""
    small = np.empty((4, side // 4, side // 4), np.uint16)
    Phantom(small.shape, SPACING).read_into(0, 4, small)
    grey = four_times((small >> 8).astype(np.uint8))
    rng = np.random.default_rng(0)
    grey += (rng.random(grey.shape, np.float32) < 0.1).astype(np.uint8)
    labels = np.empty(small.shape, np.uint8)
    Phantom(small.shape, SPACING).labels_into(0, 4, labels)
    np.save(folder / "labels.npy", four_times(labels)[:8])
    image = Image(folder / "a.zarr", (slices, side, side), np.dtype(np.uint8), Codec(codec))
    image.write_levels(0, [grey])
    first = image.levels[0].path / "c/0"
    files = [file for file in first.rglob("*") if file.is_file()]
    for number in range(1, len(image.layout.slabs)):
        for file in files:
            link = first.parent / str(number) / file.relative_to(first)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(file)
    image.finish(SPACING, {}, {})
    ratio = grey.nbytes / sum(file.stat().st_size for file in files)
    print(f"{slices} slices of {side} x {side}, uint8, {codec} ratio {ratio:.1f}\n")
    return open_volume(folder / "a.zarr")


def four_times(slices):
    """64 slices four times as wide and high, none like its neighbour."""
    large = np.kron(slices, np.ones((1, 4, 4), slices.dtype))
    return np.stack([np.roll(large[z % 4], 3 * z, axis=0) for z in range(64)])


def model_file(folder, architecture):
    torch.manual_seed(0)
    card = Card(architecture, MATERIALS, GreyScale("uint8", Window(0, 255), 0.4, 0.2))
    path = folder / f"{architecture}.safetensors"
    save_model(path, card, build(architecture, len(MATERIALS)).body.state_dict())
    return open_model(path)


def costs(folder, arguments):
    """Processor time of what happens to one slab around the device, in as many threads as usual."""
    volume = large_scan(folder, 64, arguments.codec, arguments.side or 2560)
    box, image = Box.whole(volume.shape), Image(folder / "b", volume.shape, np.uint8, Codec("zstd"))
    grey = np.zeros(volume.shape, np.uint8)
    found = np.load(folder / "labels.npy")
    labels = np.concatenate([found] * (len(grey) // len(found)))
    halved = image.halvings(labels, halve_labels)
    steps = {
        "read": lambda: volume.levels[0].read_into(box, grey),
        "count": lambda: count_labels(labels),
        "write": lambda: image.write_levels(0, [labels]),
        "halve": lambda: image.halvings(labels, halve_labels),
        "write what was halved": lambda: image.write_levels(0, halved[1:], first=1),
    }
    seconds = best(3, time.process_time, **steps)
    print("| step | CPU ms a slice |\n|---|---|")
    for name, taken in {**seconds, "all": sum(seconds.values())}.items():
        print(f"| {name} | {1000 * taken / len(grey):.1f} |")


def tail(_, arguments):
    torch.set_num_threads(2)
    side = arguments.side or 2560
    coarse, size = torch.randn(1, 6, side // 8, side // 8), (side, side)
    rule = Largest(tuple(range(coarse.shape[1])))

    def plain():
        return enlarged(coarse, size).argmax(1).to(torch.uint8)

    def bands():
        return decoded_in_bands([coarse], size, rule)

    times = best(5, plain=plain, bands=bands)
    differ = int((plain() != bands()).sum())
    print(f"| 6 x {side // 8} x {side // 8} logits to {side} x {side} labels | ms | times "
          "| pixels that differ |\n|---|---|---|---|")  # fmt: skip
    for name, seconds in times.items():
        factor = times["plain"] / seconds
        print(f"| {name} | {1000 * seconds:.0f} | {factor:.1f} | {differ} |")


def disk(folder, arguments):
    """Two commands as they are typed: a script's loop, and `xctvol segment`; start-up included."""
    model = model_file(folder, "fcn_resnet101")
    side = arguments.side or 512
    shape = (arguments.slices, side, side)
    grey = np.empty(shape, np.uint16)
    Phantom(shape, SPACING).read_into(0, shape[0], grey)
    grey = (grey >> 8).astype(np.uint8)
    image = Image(folder / "a.zarr", shape, np.dtype(np.uint8), Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], grey[block.write.slices], halve_grey)
    image.finish(SPACING, {}, {})
    for z, picture in enumerate(grey):
        tifffile.imwrite(folder / f"{z:04d}.tif", picture)
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import segment; "
    contestants = {
        "loop": [sys.executable, "-c", f"{script} segment.loop({str(model.path)!r})"],
        **{
            f"xctvol, {precision}": [
                sys.executable, "-m", "xctvol", "segment", folder / "a.zarr", model.path, "-q",
                "--precision", precision, "--labels", precision,
            ]
            for precision in arguments.precisions.split(",")
        },
    }  # fmt: skip  # options side by side
    print(f"| fcn_resnet101, {shape[0]} slices of {shape[1]} x {shape[2]}, files to files | "
          "wall s |\n|---|---|")  # fmt: skip
    for name, command in contestants.items():
        wall = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        print(f"| {name} | {time.perf_counter() - wall:.1f} |", flush=True)


def loop(model):
    """As scripts have it: read a picture, predict three channels, threshold, save PNGs.

    One PNG a material and one of all, by thresholds of the sigmoid; statistics of each slice.
    """
    from torchvision.models.segmentation import fcn_resnet101

    body = fcn_resnet101(weights=None, weights_backbone=None, num_classes=len(MATERIALS))
    body.load_state_dict(load_file(model))
    body.train()
    for file in sorted(Path(model).parent.glob("*.tif")):
        image = np.stack([np.asarray(Picture.open(file), np.float32)] * 3)
        x = torch.from_numpy((image / 255 - 0.4) / 0.2)[None]
        with torch.no_grad():
            shares = torch.sigmoid(body(x)["out"])[0].numpy()
        total = np.zeros(image.shape[1:], np.uint8)
        for number, share in enumerate(shares):
            found = ((share >= 0.5) * (40 * number)).astype(np.uint8)
            Picture.fromarray(found).save(file.with_suffix(f".{number}.png"))
            total += found
        Picture.fromarray(total).save(file.with_suffix(".png"))


if __name__ == "__main__":
    main()
