"""What to do about a product that is damaged: what writes it anew, as it was made."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from xctvol.locations import Location
from xctvol.plan import FolderRecord
from xctvol.volume import Volume, open_volume

__all__ = ["for_folder", "for_image"]


def for_image(volume: Volume) -> str:
    """What to do about damaged shards of a volume, of labels, or of images inside these."""
    verb = volume.recipe.verb if volume.recipe else ""
    if verb == "segment":
        return _for_labels(volume)
    if verb == "measure":
        return "measure again with --overwrite"
    return "keep the source, and write them anew with --source SOURCE --repair"


def _for_labels(volume: Volume) -> str:
    if "models" not in volume.own:  # an image of probabilities, inside the labels
        volume = open_volume(volume.path.parent.parent)
    path, used = volume.path, volume.own.get("models")
    known = isinstance(used, list) and all(isinstance(m, dict) and "file" in m for m in used)
    models = [str(model["file"]) for model in used or ()] if known else ["MODEL"]
    given = " ".join(f"--model {shlex.quote(model)}" for model in models)
    again = _command("segment", path.parent.parent, *models, "--labels", path.name)
    return (
        f"write them anew with `xctvol verify {shlex.quote(str(path))} {given} --repair`, or all "
        f"of the labels with {again}{_as_then(volume.recipe.options if volume.recipe else {})}"
    )


def for_folder(record: FolderRecord) -> str:
    """What to do about damaged files of a folder."""
    verb, folder = record.path.stem, record.path.parent
    if verb == "export":
        return f"run xctvol export as then, to {folder} with --overwrite"
    labels = record.says.get("labels")
    recipe = record.says.get("recipe")
    options = recipe.get("options") if isinstance(recipe, dict) else None
    if verb != "measure" or not isinstance(labels, str) or not record.is_whole():
        return f"run xctvol {verb} as then, with --output {folder} --overwrite"
    scan, inside, name = labels.partition("/labels/")
    named = ("--labels", name) if inside else ()
    again = _command("measure", scan, *named, "--output", folder)
    return f"measure again with {again}{_as_then(options if isinstance(options, dict) else {})}"


def _command(verb: str, *words: str | Location) -> str:
    return f"`xctvol {verb} {shlex.join(map(str, words))} --overwrite`"


def _as_then(options: Mapping[str, Any]) -> str:
    """Options that decide the result, as far as they were not left alone."""
    told = [
        f"{name} {_brief(value)}" for name, value in options.items() if value and name != "labels"
    ]
    return f" and the options of then ({', '.join(told)})" if told else ""


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
