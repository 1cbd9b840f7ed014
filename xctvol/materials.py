"""Materials: the classes of a scan, and the TOML table that names them.

::

    ignore = 255              # mask value of pixels without annotation, as `mask` below

    [[material]]
    name = "epidermis"
    mask = 85                 # a grey value, [r, g, b], or a list of several of either
    drawn_as = "epi*"         # its name in ImageJ or CVAT, or ImageJ's number of its group
    label = 2                 # in label volumes; by default 1, 2, 3 ... in order
    color = "#1b5e20"         # by default from a palette
    threshold = 0.5           # of the sigmoid, where the decode rule is `threshold`

A list of exactly three whole numbers is a colour; three grey values are [[1], [2], [3]]. Outlines
that people draw carry names, not values: `drawn_as` is one of these (* stands for anything), a
group number, or a list of both; without it, a material is drawn under its own name. A material
that is only ever drawn needs no `mask`.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from xctvol.errors import InputError
from xctvol.files import refuse_special

__all__ = ["MAX_LABEL", "UNLABELLED", "MaskValue", "Material", "Materials", "mask_values"]

MaskValue = tuple[int] | tuple[int, int, int]
"""A grey value, (g,), or a colour, (r, g, b)."""

UNLABELLED = 0
"""The label of voxels that belong to no material."""

MAX_LABEL = 255
"""The largest label that a material can have."""

_MAX_GROUP = 255  # ImageJ keeps a byte
_KEYS = ("name", "mask", "label", "color", "threshold", "drawn_as")
_PALETTE = (  # Paul Tol's "bright" scheme: told apart by colour-blind readers and on black
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb",
    "#ee8866", "#44bb99", "#ffaabb", "#99ddff", "#eedd88",
)  # fmt: skip  # one row per handful of colours reads better than one per line


@dataclass(frozen=True)
class Material:
    """One class: its name, how masks show it, and how label volumes store and draw it."""

    name: str
    mask: tuple[MaskValue, ...]
    label: int
    color: str
    threshold: float = 0.5
    drawn_as: tuple[str | int, ...] = ()
    """Names and group numbers of its outlines; without any, its own name."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as red, green, blue in 0..255."""
        value = int(self.color[1:], 16)
        return (value >> 16, value >> 8 & 255, value & 255)

    def to_json(self) -> dict[str, Any]:
        shown = {"mask": [list(value) for value in self.mask], "drawn_as": list(self.drawn_as)}
        return {
            "name": self.name,
            "label": self.label,
            "color": self.color,
            "threshold": self.threshold,
            **{key: values for key, values in shown.items() if values},
        }


@dataclass(frozen=True)
class Materials(Sequence[Material]):
    """The materials of a scan in decode order; names, labels and mask values are distinct.

    `ignore` holds the mask values of pixels without annotation.
    """

    table: tuple[Material, ...]
    ignore: tuple[MaskValue, ...] = ()

    def __post_init__(self) -> None:
        _refuse_duplicates("name", [m.name for m in self.table])
        _refuse_duplicates("label", [m.label for m in self.table])
        _refuse_duplicates("mask value", [value for m in self.table for value in m.mask])
        _refuse_duplicates("name for what is drawn", [n for m in self.table for n in m.drawn_as])
        for material in self.table:
            twice = set(material.mask).intersection(self.ignore)
            if twice:
                raise InputError(
                    f"material {material.name!r} has the mask value {_shown(twice.pop())}, which "
                    "`ignore` says to leave out; a value can have one meaning"
                )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Materials from a TOML file; raises InputError with the file, the entry and the remedy."""
        path = Path(path)
        refuse_special(path)
        try:
            document = tomllib.loads(
                path.read_text(encoding="utf-8-sig")
            )  # some editors add a mark
        except FileNotFoundError:
            raise InputError(
                f"{path} does not exist; it should name the materials, one [[material]] table each"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"cannot read the materials in {path}: {error}") from error
        try:
            _refuse_unknown_keys("the table", document, ("ignore", "material"))
            return cls.from_json(document.get("material"), document.get("ignore"))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, entries: Any, ignore: Any = None) -> Self:
        """Materials from a list of mappings, as in the TOML file and in model cards."""
        if not isinstance(entries, list) or not entries:
            raise InputError("no materials: write one [[material]] table for each")
        return cls(
            tuple(_material(number, entry) for number, entry in enumerate(entries, 1)),
            () if ignore is None else mask_values("ignore", ignore),
        )

    @classmethod
    def numbered(cls, labels: Sequence[int]) -> Self:
        """Nameless materials for a label volume that says nothing of its labels."""
        return cls.from_json([{"name": f"label {v}", "mask": v, "label": v} for v in labels])

    def to_json(self) -> list[dict[str, Any]]:
        return [material.to_json() for material in self.table]

    def to_toml(self) -> str:
        """The table as a file that `read` reads back."""
        first = [f"ignore = {_as_written(self.ignore)}\n"] if self.ignore else []
        return "\n".join([*first, *(_as_toml(material) for material in self.table)])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(material.name for material in self.table)

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(material.label for material in self.table)

    def __getitem__(self, index: Any) -> Any:
        return self.table[index]

    def __iter__(self) -> Iterator[Material]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


def _material(number: int, entry: Any) -> Material:
    where = f"material {number}"
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is not a table")
    _refuse_unknown_keys(where, entry, _KEYS)
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where} needs a name")
    where = f"material {name!r}"
    if "mask" not in entry and not entry.get("drawn_as"):
        raise InputError(
            f"{where} needs the grey value or colour it has in masks (mask = 85), or the name of "
            'its outlines (drawn_as = "air")'
        )
    return Material(
        name=name,
        mask=mask_values(where, entry["mask"]) if "mask" in entry else (),
        label=_label(where, entry.get("label", number)),
        color=_color(where, entry.get("color", _PALETTE[(number - 1) % len(_PALETTE)])),
        threshold=_threshold(where, entry.get("threshold", 0.5)),
        drawn_as=_drawn_as(where, entry.get("drawn_as", [])),
    )


def mask_values(where: str, given: Any) -> tuple[MaskValue, ...]:
    """Grey values and colours as people write them: one, or a list of several.

    Raises InputError, beginning with `where`, for anything else.
    """
    several = isinstance(given, list) and not (len(given) == 3 and all(_is_whole(v) for v in given))
    values = given if several else [given]
    if not values:
        raise InputError(f"{where}: the list of mask values is empty")
    return tuple(_mask_value(where, value) for value in values)


def _mask_value(where: str, value: Any) -> MaskValue:
    channels = value if isinstance(value, list) else [value]
    if all(_is_whole(c) and 0 <= c < 2**32 for c in channels):
        if len(channels) == 1:
            return (channels[0],)
        if len(channels) == 3 and max(channels) <= 255:
            return (channels[0], channels[1], channels[2])
    raise InputError(
        f"{where}: {value!r} is not a mask value; write a grey value (85) or a colour of three "
        "numbers from 0 to 255 ([0, 0, 255])"
    )


def _as_written(mask: tuple[MaskValue, ...]) -> Any:
    if len(mask) == 1:
        return mask[0][0] if len(mask[0]) == 1 else list(mask[0])
    return [list(value) for value in mask]


def _as_toml(material: Material) -> str:
    mask = f"mask = {_as_written(material.mask)}\n" if material.mask else ""
    names = ", ".join(_text(n) if isinstance(n, str) else str(n) for n in material.drawn_as)
    drawn = f"drawn_as = [{names}]\n" if names else ""
    return (
        f"[[material]]\nname = {_text(material.name)}\n{mask}{drawn}label = {material.label}\n"
        f'color = "{material.color}"\nthreshold = {material.threshold}\n'
    )


def _text(name: str) -> str:
    """As TOML has it: like JSON, but without pairs of surrogates, and with no bare DEL."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def _drawn_as(where: str, given: Any) -> tuple[str | int, ...]:
    names = given if isinstance(given, list) else [given]
    for name in names:
        named = isinstance(name, str) and name.strip()
        if not named and not (_is_whole(name) and 0 < name <= _MAX_GROUP):
            raise InputError(
                f"{where}: drawn_as {name!r} is neither a name nor the number of a group in ImageJ "
                f"(1 to {_MAX_GROUP})"
            )
    return tuple(names)


def _label(where: str, value: Any) -> int:
    if not _is_whole(value) or not UNLABELLED < value <= MAX_LABEL:
        raise InputError(
            f"{where}: label {value!r} is not a whole number from 1 to {MAX_LABEL} "
            f"({UNLABELLED} stands for unlabelled voxels)"
        )
    return int(value)


def _color(where: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise InputError(f"{where}: color {value!r} is not written like #1b5e20")
    return value.lower()


def _threshold(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError(f"{where}: threshold {value!r} is not a number between 0 and 1")
    return float(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse_unknown_keys(where: str, entry: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = sorted(set(entry).difference(known))
    if unknown:
        raise InputError(
            f"{where} has the unknown key {unknown[0]!r}; known are {', '.join(known)}"
        )


def _refuse_duplicates(what: str, values: Sequence[Any]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError(
            f"two materials have the same {what} {_shown(twice[0])}; each needs its own"
        )


def _shown(value: Any) -> str:
    return repr(value[0] if isinstance(value, tuple) and len(value) == 1 else value)
