"""The plans of `export`: the format is told by the name of what is written."""

import os
from collections.abc import Sequence
from pathlib import Path

from xctvol.errors import UsageError
from xctvol.grid import Box
from xctvol.journal import Recipe
from xctvol.labels import Labels
from xctvol.locations import local
from xctvol.plan import Plan
from xctvol.stages.export.imagej import ImageJStack
from xctvol.stages.export.nrrd import Nrrd
from xctvol.stages.export.picture import Picture
from xctvol.stages.export.slices import export_slices
from xctvol.stages.export.solid import (
    MOST_VOXELS,
    chosen,
    export_surfaces,
    level_for_surfaces,
)
from xctvol.stages.export.stack import Format, export_stack
from xctvol.volume import Volume

__all__ = ["export"]

_STACKS: dict[str, Format] = {".tif": ImageJStack(), ".tiff": ImageJStack(), ".nrrd": Nrrd()}
_SURFACES = ".glb"
_FOLDER = ""


def export(
    image: Volume | Labels,
    output: str | Path,
    *,
    level: int | None = None,
    box: Box | None = None,
    slices: Sequence[int] | None = None,
    materials: Sequence[str] = (),
) -> Plan[Path]:
    """Plan to write a volume, or labels, for other programs.

    `output` is a .tif file (ImageJ's, calibrated; labels in their colours), a .nrrd file, a .glb
    file with the surfaces of `materials`, which only labels have, or a folder, a name without a
    dot, for a TIFF file of each slice or only of `slices`. These and `box` count voxels of the
    `level`, 0 being the finest and the default; surfaces are drawn from at most 200^3 voxels where
    none is named. Values stay as they are stored. Raises UsageError for another name, a type of
    voxels that the format does not have, and what does not go together.
    """
    typed = local(output, "an export")
    path = Path(os.path.realpath(typed)) if typed.is_symlink() else typed  # not in its place
    suffix = typed.suffix.lower()
    volume = image.volume if isinstance(image, Labels) else image
    _refuse_idle(typed, slices, materials)
    most = MOST_VOXELS if level is None else None
    if level is None:
        level = level_for_surfaces(volume) if suffix == _SURFACES and box is None else 0
    picture = Picture.of(image, level, box)
    recipe = Recipe(
        "export",
        inputs={"image": volume.digest},
        options={
            "format": suffix or "folder",
            "level": level,
            "box": [list(picture.box.start), list(picture.box.stop)],
            "slices": None if slices is None else list(slices),
            "materials": list(materials),
            "most_voxels": most if suffix == _SURFACES else None,
        },
    )
    if suffix == _FOLDER:
        return export_slices(picture, slices, path, recipe)
    if suffix == _SURFACES:
        if not picture.materials:
            holds = "grey values" if picture.materials is None else "labels of no material"
            raise UsageError(f"{volume.path} holds {holds}; only materials have surfaces")
        wanted = chosen(picture.materials, materials)
        return export_surfaces(picture, wanted, most or picture.box.size, path, recipe)
    return export_stack(picture, _STACKS[suffix], path, recipe)


def _refuse_idle(path: Path, slices: Sequence[int] | None, materials: Sequence[str]) -> None:
    """Refuse a name that tells no format, and options that its format would not heed."""
    suffix = path.suffix.lower()
    if suffix not in (*_STACKS, _SURFACES, _FOLDER):
        raise UsageError(
            f"cannot tell a format from the name {path.name}; it may end in {', '.join(_STACKS)} "
            f"or {_SURFACES}, or have no dot, for a folder with a TIFF file of each slice"
        )
    if slices is not None and suffix != _FOLDER:
        raise UsageError(f"slices are written to a folder, a name without a dot, not to {path}")
    if materials and suffix != _SURFACES:
        raise UsageError(f"materials are chosen for surfaces, in a {_SURFACES} file, not {path}")
