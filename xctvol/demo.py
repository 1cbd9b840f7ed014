"""demo: a made-up leaf goes through the whole workflow, each step as a user would type it.

The one module that strings stages together, and only through what a user has: their plans. Steps
that are done already are found done, so a demo that was stopped continues.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import UsageError
from xctvol.files import holds_something, write_atomic
from xctvol.labels import Labels, open_labels
from xctvol.model.file import open_model
from xctvol.pairs import open_pairs
from xctvol.plan import Plan
from xctvol.sources import open_source
from xctvol.sources.phantom import PHANTOM_MATERIALS, Phantom
from xctvol.stages.convert import convert
from xctvol.stages.evaluate import evaluate
from xctvol.stages.export import write_imagej
from xctvol.stages.measure import measure
from xctvol.stages.report import report
from xctvol.stages.segment import segment
from xctvol.stages.train import train
from xctvol.tables import open_tables
from xctvol.volume import layout_of, open_volume

__all__ = ["Row", "Step", "leaf", "results", "steps", "write_leaf"]

_SHAPE = (96, 320, 320)
_TRAINED_ON = range(4, 96, 8)
_HELD_OUT = range(8, 96, 24)
_EPOCHS = 30
_WINDOW = "0.1%,99.9%"
_MARKER = ".xctvol-demo"  # in a folder that the demo may fill


@dataclass(frozen=True)
class Step:
    """One command, and the plan that it makes."""

    command: str
    plan: Callable[[], Plan[Any]]
    cluster: str


@dataclass(frozen=True)
class Row:
    """What the demo found of one material, against the phantom's exact truth."""

    material: str
    voxels: int
    volume_um3: float
    f1: float


def leaf() -> Phantom:
    """The demo's scan: a leaf of 96 slices."""
    return Phantom(_SHAPE)


def write_leaf(folder: Path) -> Iterator[int]:
    """Write the scan, its annotated slices and leaf.toml as a user would have them.

    Yields how many slices are there; slices that were written before are left as they are. Raises
    UsageError at once for a file, and for a folder that holds something and is not a demo's.
    """
    _claim(folder)
    return _write_slices(folder)


def _claim(folder: Path) -> None:
    marker = folder / _MARKER
    if marker.is_file():
        return
    if holds_something(folder):
        what = "holds files that are not of the demo" if folder.is_dir() else "is a file"
        raise UsageError(
            f"{folder} {what}, and made-up ones would mix with yours; name a new folder, or an "
            "empty one"
        )
    write_atomic(marker, b"made by xctvol demo\n")


def _write_slices(folder: Path) -> Iterator[int]:
    phantom = leaf()
    toml = folder / "leaf.toml"
    if not toml.exists():
        write_atomic(toml, PHANTOM_MATERIALS.to_toml().encode())
    for z in range(phantom.shape[0]):
        _write_slice(folder, phantom, z)
        yield z + 1


def _write_slice(folder: Path, phantom: Phantom, z: int) -> None:
    name = f"leaf_{z:04d}.tif"
    grey = np.empty((1, *phantom.shape[1:]), np.uint16)
    wanted = [folder / "scan" / name]
    for pairs, slices in (("annotated", _TRAINED_ON), ("held-out", _HELD_OUT)):
        if z in slices:
            wanted.append(folder / pairs / "images" / name)
            mask = folder / pairs / "masks" / name
            if not mask.exists():
                write_imagej(mask, _mask(phantom, z), phantom.spacing)
    missing = [path for path in wanted if not path.exists()]
    if missing:
        phantom.read_into(z, z + 1, grey)
    for path in missing:
        write_imagej(path, grey[0], phantom.spacing)


def _mask(phantom: Phantom, z: int) -> NDArray[np.uint8]:
    labels = np.empty((1, *phantom.shape[1:]), np.uint8)
    phantom.labels_into(z, z + 1, labels)
    values = np.zeros(256, np.uint8)
    for material in PHANTOM_MATERIALS:
        values[material.label] = material.mask[0][0]
    mask: NDArray[np.uint8] = values[labels[0]]
    return mask


def steps(folder: Path) -> tuple[Step, ...]:
    """The commands from scan to report, in order; each plan needs the products before it."""
    scan, tables = folder / "leaf.zarr", folder / "leaf-measures"
    materials, model = folder / "leaf.toml", folder / "leaf.safetensors"

    def converting() -> Plan[Any]:
        return convert(open_source(folder / "scan"), scan, window=_WINDOW)

    def training() -> Plan[Any]:
        pairs = open_pairs(folder / "annotated", materials)
        return train(pairs, model, architecture="unet", epochs=_EPOCHS)

    def evaluating() -> Plan[Any]:
        trained = open_model(model)
        held_out = open_pairs(folder / "held-out", trained.card.materials)
        return evaluate(trained, held_out, folder / "scores")

    def reporting() -> Plan[Any]:
        return report(
            open_volume(scan), open_labels(scan), folder / "leaf.html",
            tables=open_tables(tables), scores=folder / "scores",
        )  # fmt: skip  # the products, side by side

    return (
        Step(f'xctvol convert scan leaf.zarr --window "{_WINDOW}"', converting, "local"),
        Step(
            "xctvol train annotated --materials leaf.toml --output leaf.safetensors "
            f"--architecture unet --epochs {_EPOCHS}",
            training,
            "serial",
        ),
        Step("xctvol evaluate leaf.safetensors held-out --output scores", evaluating, "serial"),
        Step(
            "xctvol segment leaf.zarr leaf.safetensors",
            lambda: segment(open_volume(scan), open_model(model)),
            "local",
        ),
        Step("xctvol measure leaf.zarr", lambda: measure(open_labels(scan), tables), "local"),
        Step("xctvol report leaf.zarr leaf.html --scores scores", reporting, "serial"),
    )


def results(folder: Path) -> tuple[Row, ...]:
    """Each material's measured volume, and F1 of all its voxels against the phantom's truth."""
    labels = open_labels(folder / "leaf.zarr")
    confusion = _confusion(leaf(), labels)
    table = open_tables(folder / "leaf-measures").materials
    measured = {
        name: (int(voxels), float(volume))
        for name, voxels, volume in zip(
            table["material"], table["voxels"], table["volume_um3"], strict=True
        )
    }
    rows = []
    for material in labels.materials:
        true = int(confusion[material.label, material.label])
        total = int(confusion[material.label].sum() + confusion[:, material.label].sum())
        voxels, volume_um3 = measured[material.name]
        f1 = 2 * true / total if total else float("nan")
        rows.append(Row(material.name, voxels, volume_um3, f1))
    return tuple(rows)


def _confusion(truth: Phantom, labels: Labels) -> NDArray[np.int64]:
    """Voxels by true label (row) and label found (column)."""
    counts = np.zeros((256, 256), np.int64)
    for block in layout_of(truth.shape).slabs:
        expected = np.empty(block.write.shape, np.uint8)
        truth.labels_into(block.write.start[0], block.write.stop[0], expected)
        both = expected.astype(np.intp) * 256 + labels.volume.read(block.write)
        counts += np.bincount(both.reshape(-1), minlength=256 * 256).reshape(256, 256)
    return counts
