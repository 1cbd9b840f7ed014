"""What stands on disk is never executed, and nobody outside this machine is listened to."""

import ast
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import xctvol
from xctvol.execution import Dask
from xctvol.grid import Grid
from xctvol.journal import Journal
from xctvol.plan import Stage

ROOT = Path(xctvol.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

EXECUTING = {  # libraries that run, or can be made to run, what a file says
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("yaml", "code", "runpy"),
}
FORBIDDEN = {  # calls, by their last names
    *("eval", "exec", "compile", "__import__", "read_pickle", "unsafe_load", "full_load"),
    *("extractall", "unpack_archive", "mktemp", "system", "popen"),
}


def complaints(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                named = [node.module or ""] if not node.level else []
            for name in named:
                if name.partition(".")[0] in EXECUTING:
                    yield f"{module} line {node.lineno} imports {name}"
        elif isinstance(node, ast.Call):
            yield from (f"{module} line {node.lineno} {why}" for why in unsafe(node))


def unsafe(call: ast.Call) -> Iterator[str]:
    """What is wrong with one call, by the name that it is written with."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    builtin = last in {"eval", "compile"} and name != last  # of networks and regular expressions
    if last in FORBIDDEN and not builtin:
        yield f"calls {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "calls torch.load without weights_only=True"
    if given.get("allow_pickle", "False") != "False":
        yield f"calls {name} with pickles"
    if given.get("shell", "False") != "False":
        yield f"calls {name} through a shell"
    if last in {"parse", "fromstring", "iterparse"} and "forbid_dtd" not in given:
        yield f"calls {name} without forbid_dtd"


def test_nothing_on_disk_is_executed():
    found = [
        complaint
        for path in MODULES
        for complaint in complaints(str(path.relative_to(ROOT)), path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import yaml",
        "eval(text)",
        "exec(text)",
        "builtins.exec(text)",
        "compile(text, 'a', 'exec')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "archive.extractall(folder)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "ElementTree.parse(path)",
    ],
)
def test_the_rule_can_fail(planted):
    assert list(complaints("a.py", planted))


@pytest.mark.parametrize(
    "good",
    [
        "torch.load(path, weights_only=True)",
        "network.eval()",
        "re.compile(pattern)",
        "np.load(path)",
        "ElementTree.parse(path, forbid_dtd=True)",
        "from xctvol.execution import code_of",
    ],
)
def test_the_rule_lets_good_code_pass(good):
    assert not list(complaints("a.py", good))


@dataclass(frozen=True)
class Listening:
    """A block that waits, then tells where this process, its kin and the scheduler listen."""

    driver: int

    def __call__(self, block):
        del block
        driver = psutil.Process(self.driver)
        found = []
        for process in (driver, *driver.children(recursive=True)):
            found += [
                connection.laddr.ip
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
        return sorted(found)


@pytest.mark.slow
def test_schedulers_workers_and_dashboards_listen_on_loopback_only(tmp_path):
    stage = Stage("look", Listening(os.getpid()), Grid((1, 1, 1), (1, 1, 1)), Journal(tmp_path))
    with Dask(2).session(1) as run:
        run(stage, stage.pending(), lambda _: None)
    (found,) = stage.journal.results().values()
    assert len(found) >= 4  # a scheduler, two workers, their nannies, and what shows them
    assert set(found) == {"127.0.0.1"}


def test_the_look_at_sockets_can_fail(tmp_path):
    stage = Stage("look", Listening(os.getpid()), Grid((1, 1, 1), (1, 1, 1)), Journal(tmp_path))
    with socket.socket() as open_to_all:
        open_to_all.bind(("0.0.0.0", 0))
        open_to_all.listen()
        assert "0.0.0.0" in stage.task(stage.blocks[0])
