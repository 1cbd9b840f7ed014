"""What a page says in words and numbers: facts of the scan, rows of its table, how it was made."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.journal import Recipe
from xctvol.labels import Labels
from xctvol.materials import Material
from xctvol.stages.report.quantities import lengths
from xctvol.tables import Tables
from xctvol.volume import Volume

__all__ = [
    "Fact",
    "Row",
    "Score",
    "Step",
    "made_with",
    "read_scores",
    "region_sizes",
    "rows",
    "scan_facts",
    "shares",
    "steps",
]

_LONG = 6
_REGIONS_TO_COMPARE = 5
_TIMES = " \N{MULTIPLICATION SIGN} "


@dataclass(frozen=True)
class Fact:
    name: str
    text: str


@dataclass(frozen=True)
class Score:
    """F1 of a material on slices the models had not seen: its mean and range over models."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """The measurements of one material, as the tables have them."""

    material: Material
    voxels: int
    volume_um3: float
    fraction: float
    surface_um2: float
    regions: int
    f1: Score | None


@dataclass(frozen=True)
class Step:
    """One verb of the way from scan to page, with all that determined its result."""

    verb: str
    inputs: tuple[Fact, ...]
    options: tuple[Fact, ...]


def scan_facts(volume: Volume) -> tuple[Fact, ...]:
    """Shape, voxel size, extent and storage of a scan."""
    extent = [n * s for n, s in zip(volume.shape, volume.spacing.zyx, strict=True)]
    isotropic = volume.spacing.isotropic
    sides = [volume.spacing.x] if isotropic else volume.spacing.zyx
    told = [
        Fact("Voxels (z, y, x)", _TIMES.join(map(str, volume.shape))),
        Fact("Voxel size" if isotropic else "Voxel size (z, y, x)", lengths(sides)),
        Fact("Extent (z, y, x)", lengths(extent)),
        Fact("Stored as", volume.dtype.name),
    ]
    if volume.window is not None:
        low, high, name = volume.window.low, volume.window.high, volume.source_dtype.name
        told.append(Fact("Window", f"{low:g} to {high:g} of {name}"))
    return tuple(told)


def rows(labels: Labels, tables: Tables, scores: Path | None) -> tuple[Row, ...]:
    """One row a material, in the order of the materials."""
    measured = {int(row["label"]): row for row in tables.materials.to_dict("records")}
    f1 = {} if scores is None else read_scores(scores)
    return tuple(
        Row(
            material=material,
            voxels=int(measured[material.label]["voxels"]),
            volume_um3=float(measured[material.label]["volume_um3"]),
            fraction=float(measured[material.label]["fraction"]),
            surface_um2=float(measured[material.label]["surface_um2"]),
            regions=int(measured[material.label]["regions"]),
            f1=f1.get(material.name),
        )
        for material in labels.materials
        if material.label in measured
    )


def read_scores(folder: Path) -> dict[str, Score]:
    """F1 of all models, by material's name, from the folder that evaluate wrote.

    Raises InputError.
    """
    path = folder / "scores.csv"
    values: dict[str, list[float]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["kind"] == "model" and row["f1"]:  # empty where the score does not exist
                    values.setdefault(row["material"], []).append(float(row["f1"]))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"cannot read the scores in {path}: {error!r}; name the folder that evaluate wrote"
        ) from error
    return {name: Score(sum(f1) / len(f1), min(f1), max(f1)) for name, f1 in values.items()}


def shares(labels: Labels, tables: Tables) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions of all slices in um, and the share of each material in them (materials, slices)."""
    depth, height, width = labels.volume.shape
    spacing = labels.volume.spacing
    share = np.zeros((len(labels.materials), depth))
    table = tables.slices
    for number, material in enumerate(labels.materials):
        mine = table[table["material"] == material.name]
        share[number, mine["z"].to_numpy(int)] = mine["area_um2"].to_numpy(float)
    share /= height * spacing.y * width * spacing.x
    return (np.arange(depth, dtype=np.float64) * spacing.z, share)


def region_sizes(labels: Labels, tables: Tables) -> dict[Material, NDArray[np.float64]]:
    """Volumes in um3 of the regions of the materials that have enough of them to compare."""
    table = tables.regions
    sizes = {
        material: table.loc[table["material"] == material.name, "volume_um3"].to_numpy(float)
        for material in labels.materials
    }
    return {
        material: volumes
        for material, volumes in sizes.items()
        if volumes.size >= _REGIONS_TO_COMPARE
    }


def steps(*recipes: Recipe | None) -> Iterator[Step]:
    """How each product was made, for those that this package made."""
    for recipe in recipes:
        if recipe is not None:
            yield Step(recipe.verb, _told(recipe.inputs), _told(recipe.options))


def made_with() -> str:
    return f"xctvol {version('xctvol')}"


def _told(group: Any) -> tuple[Fact, ...]:
    return tuple(Fact(name, _brief(value)) for name, value in group.items())


def _brief(value: Any) -> str:
    """A JSON value in one line: long lists by their ends, things by their names."""
    if isinstance(value, str):
        return f"{value[:12]}…" if re.fullmatch("[0-9a-f]{64}", value) else value
    if isinstance(value, list) and len(value) > _LONG:
        return f"{_brief(value[0])} … {_brief(value[-1])} ({len(value)})"
    if isinstance(value, list):
        return ", ".join(map(_brief, value))
    if isinstance(value, Mapping):
        named = {name: _brief(inner) for name, inner in value.items()}
        return named.get("name") or ", ".join(f"{name} {text}" for name, text in named.items())
    return json.dumps(value)
