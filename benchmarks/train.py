"""Training: scores reached in minutes, steps against the reference loop, memory against the plan.

    python benchmarks/train.py sandstone | nmc | leaf | phantom | steps | memory [--data FOLDER]

`--data` is the folder that holds sandstone/, nmc_nanoct/ and leaf_slice/. Scores are of each fold,
or of the one that `--fold` names. Everything runs on the device that torch finds; the numbers are
of that device only.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import accuracy
import numpy as np
import tifffile
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from xctvol.execution import Dask
from xctvol.model.devices import choose_device, learning_precision
from xctvol.model.memory import training_bytes
from xctvol.model.networks import build
from xctvol.pairs import open_pairs
from xctvol.plan import Serial
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.train.learner import Learner
from xctvol.stages.train.losses import binary_cross_entropy
from xctvol.stages.train.samples import Sample, epoch_batches
from xctvol.stages.train.settings import Settings
from xctvol.studies import study

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STEPS = (("fcn_resnet50", 0.25, 3), ("unet", 1.0, 4))
"""Network, scale of the slices, steps timed."""
LEAF = (64, 96, 128)
"""Voxels of the phantom's leaves."""
MEMORY = (("unet", (4, 256, 256)), ("fcn_resnet50", (2, 256, 256)))


class ReferenceLoop:
    """The loop of XCT_FCN as its users describe it: one image a step, read and made anew.

    Pillow opens and resizes both files, the grey channel is repeated, masks become a plane a
    material, all planes are flipped and turned, then one step of Adam on BCEWithLogits in fp32.
    """

    def __init__(self, pairs, architecture, size, device):
        self.pairs, self.size, self.device = list(pairs), size, device
        self.colors = [np.array(m.mask[0]) for m in accuracy.SANDSTONE]
        self.network = build(architecture, len(accuracy.SANDSTONE))
        self.network.body.to(device).train()
        self.adam = torch.optim.Adam(self.network.body.parameters(), lr=1e-3)
        self.loss, self.rng = nn.BCEWithLogitsLoss(), np.random.default_rng(0)

    def load(self, pair):
        image, mask = (Image.open(file) for file in (pair.files[0], pair.files[1]))
        grey = np.asarray(image.resize(self.size), np.float32)
        values = np.asarray(mask.convert("RGB").resize(self.size))
        planes = [(values == color).all(-1) for color in self.colors]
        x = torch.from_numpy(grey)[None].repeat(3, 1, 1) / 255
        return (x - 0.3) / 0.2, torch.from_numpy(np.stack(planes).astype(np.float32))

    def turned(self, x, y):
        both = torch.cat([x, y])
        for axis in (1, 2):
            if self.rng.random() < 0.4:
                both = both.flip(axis)
        if self.rng.random() < 0.4:
            angle = np.deg2rad(self.rng.uniform(-50, 50))
            cos, sin = float(np.cos(angle)), float(np.sin(angle))
            theta = torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]])
            grid = functional.affine_grid(theta, [1, *both.shape], align_corners=False)
            both = functional.grid_sample(
                both[None], grid, padding_mode="reflection", align_corners=False
            )[0]
        return both[:3], both[3:]

    def step(self, index):
        x, y = self.turned(*self.load(self.pairs[index % len(self.pairs)]))
        x, y = x[None].to(self.device), y[None].to(self.device)
        out = self.network.body(x if self.network.channels == 3 else x[:, :1])
        loss = self.loss(out["out"] if isinstance(out, dict) else out, y)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return float(loss.detach())


class OurLoop:
    """The same steps as the verb train makes them, on slices that are read once."""

    def __init__(self, pairs, architecture, size, device):
        self.settings, self.device = Settings(architecture, device=str(device)), device
        self.samples = [_sample(pair, size) for pair in pairs]
        self.learner = Learner(
            build(architecture, len(accuracy.SANDSTONE)),
            self.settings,
            device,
            [1] * len(accuracy.SANDSTONE),
        )
        self.batches = self._endless()

    def _endless(self):
        rng = np.random.default_rng(0)
        while True:
            yield from epoch_batches(self.samples, self.settings, rng, self.device)

    def step(self, index):
        return self.learner.learn(islice(self.batches, 1), 1e-3)


def _sample(pair, size):
    annotated = pair.read(accuracy.SANDSTONE)
    image = np.asarray(Image.fromarray(annotated.image).resize(size), np.float32) / 255
    indices = np.asarray(Image.fromarray(annotated.indices).resize(size, Image.Resampling.NEAREST))
    return Sample(torch.from_numpy((image - 0.3) / 0.2), torch.from_numpy(indices.copy()))


def steps(data, slices, side):
    """In turns, so that both meet the same load; `slices` and `side` are for less than all."""
    pairs = list(open_pairs(data / "sandstone", accuracy.SANDSTONE))[:slices]
    device, (height, width) = choose_device("auto"), pairs[0].read(accuracy.SANDSTONE).image.shape
    print("| network | x, y | reference, steps/s | xctvol | ratio |\n" + 5 * "|---" + "|")
    for architecture, scale, count in STEPS:
        size = (side, side) if side else (int(scale * width), int(scale * height))
        loops = [kind(pairs, architecture, size, device) for kind in (ReferenceLoop, OurLoop)]
        seconds = [[], []]
        for loop in loops:
            loop.step(0)
        for index in range(count):
            for times, loop in zip(seconds, loops, strict=True):
                start = time.perf_counter()
                loop.step(index)
                times.append(time.perf_counter() - start)
        reference, ours = (1 / np.median(times) for times in seconds)
        rates = f"{reference:.3f} | {ours:.3f} | {ours / reference:.2f}"
        print(f"| {architecture} | {' x '.join(map(str, size))} | {rates} |", flush=True)


def phantom(folder, scans, epochs, processes):
    """The study of the paper's Figures 2 and 4, on leaves that are made up, into `folder`."""
    for name, seeds in (("annotated", range(1, 6)), ("held-out", (11, 12))):
        for seed in seeds:
            _annotate(Phantom(LEAF, seed=seed), folder / name / f"leaf-{seed}")
    pairs, held_out = (
        open_pairs(folder / name, PHANTOM_MATERIALS) for name in ("annotated", "held-out")
    )
    plan = study(
        pairs, held_out, folder / "study", scans=tuple(range(1, scans + 1)),
        epochs=(epochs,) if epochs else (10, 25, 50, 100, 200), replicates=2, architecture="unet",
    )  # fmt: skip  # the study, side by side
    print(plan, flush=True)
    start = time.perf_counter()
    found = plan.run(Dask(processes) if processes > 1 else Serial())
    print(found.path, f"{time.perf_counter() - start:.0f} s")


def _annotate(leaf, folder):
    """Two slices of a leaf, with all their pixels annotated."""
    values = np.zeros(256, np.uint8)
    for material in PHANTOM_MATERIALS:
        values[material.label] = material.mask[0][0]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for z in (LEAF[0] // 4, 3 * LEAF[0] // 4):
        grey, labels = np.empty((1, *LEAF[1:]), np.uint16), np.empty((1, *LEAF[1:]), np.uint8)
        leaf.read_into(z, z + 1, grey)
        leaf.labels_into(z, z + 1, labels)
        tifffile.imwrite(folder / "images" / f"{z}.tif", grey[0])
        tifffile.imwrite(folder / "masks" / f"{z}.tif", values[labels[0]])


def memory():
    """Each in a process of its own: what a step adds to it at most, against the plan for fp32."""
    print("learning in", learning_precision(torch.device("cpu")))
    for architecture, shape in MEMORY:
        for checkpointing in (False, True):
            arguments = json.dumps([architecture, shape, checkpointing])
            run = subprocess.run(
                [sys.executable, __file__, "step", "--arguments", arguments],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            _row(architecture, shape, checkpointing, f"{run.stdout.strip()} MB")
    for size in ((1, 1352, 2464), (1, 2560, 2560)):
        for checkpointing in (False, True):
            _row("fcn_resnet101", size, checkpointing, "-")


def _row(architecture, shape, checkpointing, measured):
    planned = training_bytes(
        architecture, 4, tuple(shape), binary_cross_entropy, checkpointing=checkpointing
    )
    layers = "computed twice" if checkpointing else "kept"
    size = " x ".join(map(str, shape))
    found = f"{planned / 1e6:.0f} MB | {measured}"
    print(f"| {architecture} | {size} | {layers} | {found} |", flush=True)


def step(architecture, shape, checkpointing):
    """Print what two steps on a CPU add to this process at most, in megabytes."""
    torch.manual_seed(0)
    settings = Settings("unet", checkpointing=checkpointing)
    warm = Sample(torch.randn(1, 32, 32), torch.zeros(1, 32, 32, dtype=torch.uint8))
    Learner(build("unet", 4), settings, torch.device("cpu"), [1] * 4).learn(
        [warm], 1e-3
    )  # libraries
    image = torch.randn(shape)
    batch = Sample(image, torch.randint(0, 4, tuple(shape)).to(torch.uint8))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    network = build(architecture, 4)
    learner = Learner(
        network, replace(settings, architecture=architecture), torch.device("cpu"), [1] * 4
    )
    best = learner.weights()
    learner.learn([batch, batch], 1e-3)
    print(f"{(_status('VmHWM') - before) / 1e6:.0f}", flush=True)
    del best


def _status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = [*accuracy.BENCHMARKS, "phantom", "steps", "memory", "step"]
    parser.add_argument("what", nargs="+", choices=choices)
    parser.add_argument("--folder", type=Path, help="of the phantom's study: a new one")
    parser.add_argument("--scans", type=int, default=5, help="of that study, at most")
    parser.add_argument("--processes", type=int, default=2, help="that share that study")
    parser.add_argument("--slices", type=int, help="of steps, all by default")
    parser.add_argument("--side", type=int, help="of slices of steps, as scaled by default")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--epochs", type=int, help="of phantom, instead of 10 to 200")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of slices, as the U-Net sees them"
    )
    parser.add_argument("--replicates", type=int, default=1, help="scored together as well")
    parser.add_argument("--fold", action="append", default=[])
    parser.add_argument("--arguments", type=json.loads)
    chosen = parser.parse_args()
    if "phantom" in chosen.what and (chosen.folder is None or chosen.folder.exists()):
        parser.error("phantom needs --folder, the name of a new one")
    for what in chosen.what:
        run(what, chosen)


def run(what, chosen):
    if what == "steps":
        steps(chosen.data, chosen.slices, chosen.side)
    elif what == "phantom":
        phantom(chosen.folder, chosen.scans, chosen.epochs, chosen.processes)
    elif what == "memory":
        memory()
    elif what == "step":
        step(*chosen.arguments)
    else:
        names = ("epochs", "scale", "replicates")
        options = {name: getattr(chosen, name) for name in names}
        accuracy.run(what, chosen.data, options, chosen.fold)


if __name__ == "__main__":
    main()
