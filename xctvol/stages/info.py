"""info: what a path holds, how large it is, and how it was made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xctvol.errors import InputError
from xctvol.files import states_below
from xctvol.journal import Recipe
from xctvol.labels import open_labels
from xctvol.locations import Location, S3Path, located
from xctvol.plan import FolderRecord, finished_folder, read_recipe
from xctvol.sources import open_source
from xctvol.units import format_bytes
from xctvol.volume import label_names, open_volume

__all__ = ["describe"]

Facts = dict[str, Any]


def describe(where: str | Path) -> Facts:
    """Facts by name of a volume, a model, a folder that a verb wrote, or the slices of a scan.

    Raises InputError where it is none of these.
    """
    path = located(where)
    if isinstance(path, S3Path):
        return _volume(path)
    if path.is_dir():
        record = finished_folder(path)
        if record is not None:
            return _tables(path) if record.kind == "measurements" else _folder(record)
        for mark, describer in _FOLDERS.items():
            if (path / mark).exists():
                return describer(path)
    if path.suffix == ".safetensors":
        return _model(path)
    return _scan(where)


def _volume(path: Location) -> Facts:
    volume = open_volume(path)
    stored = sum(nbytes for nbytes, _ in states_below(path).values())
    z, y, x = (n * s / 1000 for n, s in zip(volume.shape, volume.spacing.zyx, strict=True))
    facts: Facts = {
        "volume": str(path),
        "voxels": " x ".join(map(str, volume.shape)) + f" (z, y, x) {volume.dtype}",
        "voxel size": str(volume.spacing),
        "size": f"{z:.4g} x {y:.4g} x {x:.4g} mm",
        "levels": [" x ".join(map(str, level.shape)) for level in volume.levels],
        "window": f"{volume.window} of {volume.source_dtype}" if volume.window else "none",
        "on disk": format_bytes(stored),
    }
    for name in label_names(path):
        try:
            labels = open_labels(path, name)
        except InputError as error:
            facts[f"labels/{name}"] = f"cannot be used: {error}"
            continue
        facts[f"labels/{name}"] = [f"{m.label} {m.name}" for m in labels.materials]
        facts[f"labels/{name} made by"] = _history(labels.volume.recipe)
    return {**facts, "made by": _history(volume.recipe)}


def _unfinished(path: Path) -> Facts:
    raise InputError(f"{path} is unfinished: run the command that made it again, it continues")


def _tables(path: Path) -> Facts:
    from xctvol.tables import open_tables  # pandas takes a second to import

    tables = open_tables(path)
    return {
        "tables": str(path),
        "materials": len(tables.materials),
        "regions": len(tables.regions),
        "made by": _history(Recipe.from_json(tables.record["recipe"])),
    }


def _folder(record: FolderRecord) -> Facts:
    facts: Facts = {record.kind: str(record.path.parent)}
    macro = record.says.get("macro_f1")
    if isinstance(macro, dict):
        facts["macro-F1"] = [f"{model}: {score:.4f}" for model, score in macro.items()]
    facts["files"] = len(record.files)
    return {**facts, "made by": _history(read_recipe(record.path, record.says.get("recipe")))}


def _model(path: Path) -> Facts:
    from xctvol.model.file import read_card  # torch takes seconds to import

    card = read_card(path)
    facts: Facts = {
        "model": str(path),
        "architecture": card.architecture,
        "materials": list(card.materials.names),
        "trained on": f"{card.grey.dtype}, window {card.grey.window}",
        "batch norm": card.norm,
    }
    if card.training is not None:
        learned, chosen = len(card.training.trained_on), len(card.training.validated_on)
        by = card.training.options.get("split", "slice")
        facts["slices"] = f"{learned} to learn from, {chosen} to choose by, split by {by}"
        facts["learned in"] = card.training.precision
        facts["best epoch"] = f"{card.training.best_epoch} of {len(card.training.losses)}"
        facts["macro-F1 on validation"] = [
            f"{name}: {score:.4f}" for name, score in card.training.scores.items()
        ]
    return facts


def _scan(where: str | Path) -> Facts:
    source = open_source(where)
    return {"scan": list(source.summary())}


def _history(recipe: Recipe | None) -> str:
    if recipe is None:
        return "another program"
    options = ", ".join(f"{name} {value}" for name, value in recipe.options.items())
    return f"xctvol {recipe.verb}: {options}"


_FOLDERS: dict[str, Callable[[Path], Facts]] = {
    "zarr.json": _volume,
    ".zattrs": _volume,
    ".xctvol": _unfinished,
}
