"""Scores on real annotations: a library of train.py, which does nothing by itself.

The small U-Net stands against a pixel forest that learns from the same slices. It is trained as
`xctvol train --architecture unet` does by default, whatever the data. Slices to learn from are cut
into quarters, a quarter of which chooses the epoch; held-out slices are scored whole. Nothing of a
held-out slice is seen before, not even its grey values.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from xctvol.materials import Materials
from xctvol.pairs import Pairs, open_pairs
from xctvol.stages.evaluate import Scores, evaluate
from xctvol.stages.train import train
from xctvol.volume.window import Histogram, Percentiles

SANDSTONE = Materials.from_json(
    [
        {"name": "pore", "mask": [0, 0, 255]},
        {"name": "quartz", "mask": [255, 0, 0]},
        {"name": "clay", "mask": [0, 255, 0]},
        {"name": "pyrite", "mask": [255, 255, 0]},
    ]
)


@dataclass(frozen=True)
class Slice:
    """An image (y, x), and the index of each pixel's material, (y, x) uint8."""

    name: str
    image: NDArray[Any]
    indices: NDArray[np.uint8]

    def quarters(self) -> Iterator["Slice"]:
        halves = [np.array_split(np.arange(size), 2) for size in self.image.shape]
        for row, ys in enumerate(halves[0]):
            for column, xs in enumerate(halves[1]):
                part = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
                yield Slice(
                    f"{self.name}-{'ab'[row]}{column}", self.image[part], self.indices[part]
                )


@dataclass(frozen=True)
class Fold:
    """What is learned from, and what is scored."""

    name: str
    learned: tuple[Slice, ...]
    held_out: tuple[Slice, ...]


def sandstone(data: Path) -> tuple[Materials, Iterator[Fold]]:
    """Each of the five slices held out in turn."""
    slices = []
    for pair in open_pairs(data / "sandstone", SANDSTONE):
        annotated = pair.read(SANDSTONE)
        slices.append(Slice(pair.name, annotated.image, annotated.indices))
    folds = (Fold(out.name, tuple(s for s in slices if s is not out), (out,)) for out in slices)
    return SANDSTONE, folds


NMC = {"A": (1, 300), "B": (103, 738), "C": (394, 622), "D": (1501, 1503)}
"""Slices of each scan."""


def nmc(data: Path) -> tuple[Materials, Iterator[Fold]]:
    """One slice of each scan held out, then the other.

    Each scan has its own range of grey values, as `convert --window 0.1%,99.9%` stores it; that of
    the slice that is learned from serves both.
    """
    folder = data / "nmc_nanoct"

    def fold(learned: int) -> Fold:
        sides: tuple[list[Slice], list[Slice]] = ([], [])
        for scan, numbers in NMC.items():
            images = [tifffile.imread(folder / "images" / f"{n}.tif") for n in numbers]
            images = [image.astype(np.float32) for image in images]
            window = Histogram.of(images[learned][None]).window(Percentiles(0.1, 99.9))
            for side, number, image in zip((0, 1), numbers, images, strict=True):
                stored = np.empty(image.shape, np.uint8)
                window.to_uint8(image[None], stored[None])
                mask = tifffile.imread(folder / "masks" / f"{number}_label.tif")
                sides[side != learned].append(Slice(f"{scan}-{number}", stored, mask))
        return Fold("second slices" if learned == 0 else "first slices", *map(tuple, sides))

    return _named("active material", "phase 1", "phase 2"), (fold(learned) for learned in (0, 1))


LEAF = {
    "mesophyll": 0,
    "epidermis": 85,
    "vein": 128,
    "bundle sheath": 152,
    "background": 170,
    "air space": 255,
}


def leaf(data: Path) -> tuple[Materials, Iterator[Fold]]:
    """The right half held out, then the left one, of the slice with phase retrieval."""
    stem = data / "leaf_slice" / "C_I_12_Strip1_00"
    image = np.asarray(Image.open(f"{stem}b_paganin-slice0440.png"))
    values = np.asarray(Image.open(f"{stem}d_labelled-slice0440.png"))
    indices = np.full(values.shape, 255, np.uint8)
    for index, value in enumerate(LEAF.values()):
        indices[values == value] = index
    middle = image.shape[1] // 2
    left, right = (
        Slice(name, image[:, part], indices[:, part])
        for name, part in (("left", np.s_[:middle]), ("right", np.s_[middle:]))
    )
    return _named(*LEAF), iter([Fold("right", (left,), (right,)), Fold("left", (right,), (left,))])


def _named(*names: str) -> Materials:
    return Materials.from_json([{"name": n, "mask": index} for index, n in enumerate(names)])


BENCHMARKS = {"sandstone": sandstone, "nmc": nmc, "leaf": leaf}


def run(what: str, data: Path, options: Mapping[str, Any], only: Sequence[str]) -> None:
    """Print a table: a row for the network and one for the forest in each fold (of `only`)."""
    materials, folds = BENCHMARKS[what](data)
    print(f"| held out | model | processor s | {' | '.join(materials.names)} | macro-F1 |")
    for fold in folds:
        if not only or fold.name in only:
            with tempfile.TemporaryDirectory() as folder:
                _score(fold, materials, options, Path(folder))


def _score(fold: Fold, materials: Materials, options: Mapping[str, Any], folder: Path) -> None:
    numbered = _named(*materials.names)
    quarters = [quarter for whole in fold.learned for quarter in whole.quarters()]
    learned = _written(folder / "learned", quarters, numbered)
    held_out = _written(folder / "held-out", fold.held_out, numbered)
    times = [time.process_time()]
    models = train(learned, folder / "unet.safetensors", architecture="unet", **options).run(
        listen=lambda p: print(fold.name, p.done, p.note, file=sys.stderr, flush=True)
    )
    times.append(time.process_time())
    together = len(models) > 1
    evaluate(models, held_out, folder / "alone", together=together).run()
    times.append(time.process_time())
    scores = evaluate(
        models, held_out, folder / "both", together=together, baseline=learned
    ).run()  # fmt: skip
    times.append(time.process_time())
    training, alone, both = np.diff(times)
    for model in scores.macro_f1:
        seconds = {"together": training, "pixel forest": both - alone}
        took = seconds.get(model, training / len(models))
        print(f"| {fold.name} | {model} | {took:.0f} | {_row(scores, model)} |", flush=True)
    for model in models:
        record = model.card.training
        assert record is not None
        print(f"epoch {record.best_epoch}, {record.kept} statistics", file=sys.stderr, flush=True)


def _written(folder: Path, slices: Sequence[Slice], materials: Materials) -> Pairs:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for each in slices:
        tifffile.imwrite(folder / "images" / f"{each.name}.tif", each.image)
        tifffile.imwrite(folder / "masks" / f"{each.name}.tif", each.indices)
    return open_pairs(folder, materials)


def _row(scores: Scores, model: str) -> str:
    cells = [f"{row.f1:.3f}" for row in scores.table if row.model == model]
    return " | ".join([*cells, f"{scores.macro_f1[model]:.3f}"])
