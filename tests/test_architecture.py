"""The shape of the house: which module may import what, and how large it may grow.

Each rule is a function from a module's name and source to the complaints about it. Names keep
`__init__` ("xctvol.model.__init__"), so a relative import is relative to all but the last part.
The last test plants a violation of every rule, and wants it found.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import xctvol

LEVELS = (  # lowest first: a room imports from the levels before its own, and from itself
    "errors",
    "s3",
    "locations",
    "units grid resources files stopping formats",
    "materials journal",
    "plan",
    "volume execution",
    "sources",
    "annotations",
    "pairs labels model tables",
    "stages stages.convert stages.train stages.segment stages.measure stages.evaluate "
    "stages.report stages.view stages.export stages.verify stages.info stages.doctor stages.model",
    "studies",  # strings train and evaluate together
    "__init__",  # the public names
    "demo",
    "cli",
    "__main__",
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms.split()}

HOMES = {  # every library that is not the standard one, and where it may be imported
    "torch": "model stages.train stages.segment",
    "torchvision": "model.networks",
    "safetensors": "model",
    "dask": "execution.dask execution.allocation volume",
    "distributed": "execution.dask execution.local execution.worker execution.blocks "
    "execution.allocation",
    "zarr": "volume",
    "numcodecs": "volume",
    "xarray": "volume",
    "tifffile": "sources.tiff stages.export",
    "imagecodecs": "sources.tiff",
    "h5py": "sources.hdf5",
    "SimpleITK": "sources.itk",
    "roifile": "annotations.imagej",
    "defusedxml": "annotations.cvat_shapes",
    "PIL": "sources.images stages.report",
    "numba": "stages.measure labels.counting",
    "skimage": "stages.measure stages.report stages.evaluate.features stages.export.surfaces",
    "sklearn": "stages.evaluate.forest",
    "pandas": "tables",
    "pyarrow": "tables",
    "matplotlib": "stages.report stages.evaluate stages.train studies",
    "jinja2": "stages.report",
    "neuroglancer": "stages.view.server",
    "tornado": "stages.view.server",
    "obstore": "s3",
    "typer": "cli",
    "rich": "cli",
    "scipy": "studies.intervals",
    "numpy": " ".join(room for room in LEVEL if LEVEL[room] >= LEVEL["volume"]),
}
MAX_MODULE = 400
MAX_FUNCTION = 40  # without its head, in which a verb has a line an option, and its docstring

ROOT = Path(xctvol.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts))


def room_of(module: str) -> str:
    """The innermost entry of LEVELS that `module` belongs to, or its own name without xctvol."""
    parts = module.split(".")[1:] or ["__init__"]
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in LEVEL), names[0])


def imports(module: str, source: str) -> Iterator[str]:
    """Absolute names of all that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")[: -node.level] if node.level else []
            parent = ".".join([*parts, *filter(None, [node.module])])
            for alias in node.names:  # from xctvol import grid, or a name that grid holds
                child = f"{parent}.{alias.name}"
                yield child if child.removeprefix("xctvol.") in LEVEL else parent


def upward_imports(module: str, source: str) -> Iterator[str]:
    room = room_of(module)
    if room not in LEVEL:
        yield f"{module} stands on no level: add it to LEVELS"
        return
    for name in imports(module, source):
        other = room_of(name)
        if name.split(".")[0] != "xctvol" or other == room:
            continue
        if other not in LEVEL:
            yield f"{module} imports {name}, which stands on no level"
        elif LEVEL[other] >= LEVEL[room]:
            yield f"{module} imports {name}, which is not below it"


def homeless_imports(module: str, source: str) -> Iterator[str]:
    for name in imports(module, source):
        library = name.split(".")[0]
        if library in sys.stdlib_module_names or library == "xctvol":
            continue
        homes = HOMES.get(library, "")
        if not f"{module}.".startswith(tuple(f"xctvol.{home}." for home in homes.split())):
            yield f"{module} imports {library}, whose home is {homes or 'not known'}"


def too_long(module: str, source: str) -> Iterator[str]:
    lines = source.count("\n")
    if lines > MAX_MODULE:
        yield f"{module} has {lines} lines, more than {MAX_MODULE}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > MAX_FUNCTION:
                yield f"{module}.{node.name} has {lines} lines, more than {MAX_FUNCTION}"


@cache
def public_names(source: str) -> set[str] | None:
    """What `__all__` of a module lists; None where it has none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def private_imports(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in SOURCES:
            listed = public_names(SOURCES[node.module]) or set()
            for alias in node.names:
                if alias.name not in listed and f"{node.module}.{alias.name}" not in SOURCES:
                    yield f"{module} imports {alias.name}, which {node.module} does not list"


def prints(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id == "print" and room_of(module) != "cli":
            yield f"{module} line {called.lineno} prints; only the command line does"


def bare_excepts(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{module} line {node.lineno} catches everything; name the error"


SOURCES = {name_of(path).removesuffix(".__init__"): path.read_text() for path in MODULES}
RULES = (upward_imports, homeless_imports, private_imports, too_long, prints, bare_excepts)


@pytest.mark.parametrize("rule", RULES)
def test_every_module_keeps(rule):
    found = [complaint for path in MODULES for complaint in rule(name_of(path), path.read_text())]
    assert not found, "\n".join(found)


def test_every_room_is_there():
    rooms = {room_of(name_of(path)) for path in MODULES}
    assert rooms == set(LEVEL), "LEVELS and the folders of xctvol differ"


def test_the_command_line_starts_light():
    code = "import sys, xctvol.cli; print(*{'torch', 'dask', 'zarr', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


def test_public_names_resolve_and_are_typed():
    missing = [name for name in xctvol.__all__ if not hasattr(xctvol, name)]
    assert not missing
    tree = ast.parse((ROOT / "__init__.py").read_text())
    typed = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module.removeprefix("xctvol.")
        for node in ast.walk(typed[0])
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == xctvol._HOMES
    assert sorted(seen) == sorted(xctvol.__all__)


PLANTED = [
    (upward_imports, "xctvol.grid", "from xctvol.plan import Plan", "not below"),
    (upward_imports, "xctvol.grid", "from xctvol import plan", "not below"),
    (upward_imports, "xctvol.labels", "from xctvol.tables import Tables", "not below"),
    (
        upward_imports,
        "xctvol.stages.measure.merge",
        "def f():\n    import xctvol.stages.train",
        "not below",
    ),
    (upward_imports, "xctvol.volume.__init__", "from ..sources import phantom", "not below"),
    (upward_imports, "xctvol.volume.a.b", "from ...sources import phantom", "not below"),
    (upward_imports, "xctvol.stages.convert", "import xctvol", "not below"),
    (upward_imports, "xctvol.stages.convert", "from xctvol.stages import train", "not below"),
    (upward_imports, "xctvol.cli.main", "import xctvol.utils", "no level"),
    (
        upward_imports,
        "xctvol.stages.info",
        "if TYPE_CHECKING:\n    from xctvol.stages.doctor import Check",
        "not below",
    ),
    (upward_imports, "xctvol.stages.convert", "from xctvol import Volume", "not below"),
    (upward_imports, "xctvol.stages.convert", "from . import report", "not below"),
    (upward_imports, "xctvol.labels", "from xctvol.stages.convert import convert", "not below"),
    (upward_imports, "xctvol.utils", "", "no level"),
    (homeless_imports, "xctvol.stages.convert", "def f():\n    import torch.nn", "model"),
    (homeless_imports, "xctvol.modeling", "import torch", "model"),
    (homeless_imports, "xctvol.model.card", "from torchvision import models", "model.networks"),
    (homeless_imports, "xctvol.plan", "import numpy as np", "volume"),
    (homeless_imports, "xctvol.stages.convert", "import requests", "not known"),
    (private_imports, "xctvol.demo", "from xctvol.plan.plan import _silent", "does not list"),
    (private_imports, "xctvol.demo", "from xctvol.units import _SIZES", "units does not list"),
    (too_long, "xctvol.stages.info", "x = 1\n" * 401, "401 lines"),
    (
        too_long,
        "xctvol.stages.info",
        "class A:\n  def f():\n" + "    x = 1\n" * 41,
        "f has 41 lines",
    ),
    (prints, "xctvol.demo", "def f():\n    print('done')", "line 2"),
    (bare_excepts, "xctvol.cli.main", "try:\n    f()\nexcept:\n    pass", "line 3"),
]


@pytest.mark.parametrize(("rule", "module", "source", "complaint"), PLANTED)
def test_rules_can_fail(rule, module, source, complaint):
    assert complaint in "\n".join(rule(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "xctvol.stages.measure.merge",
            "from .sums import Sums\nfrom xctvol.stages.measure import runs",
        ),
        ("xctvol.stages.measure.merge", "import ast, numpy\nfrom xctvol.plan import Plan"),
        ("xctvol.cli.main", "import typer\nfrom xctvol import Volume, grid\nprint('done')"),
    ],
)
def test_rules_let_good_code_pass(module, source):
    assert not [complaint for rule in RULES for complaint in rule(module, source)]
