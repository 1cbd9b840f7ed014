"""Commands killed at random moments, 200 times: no voxel is lost, and the journal tells the truth.

Each command is killed alone, together with another run of the same command, or beside one that
goes on, as when a node that seemed lost comes back.
"""

import os
import random
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KILLS = {"convert": 55, "segment": 55, "measure": 55, "train": 35}
assert sum(KILLS.values()) >= 200

LEFT_BY_BLOCK = {
    "histogram": ["*/histogram/{0:06}.npy"],
    "slabs": ["*/0/c/{0}/*"],
    "measured": [f"*/{kind}-{{0:06}}.np?" for kind in ("measures", "planes", "closed")],
    "linked": ["*/links-{0:06}.npy"],
    "numbered": ["*/regions.zarr/0/c/{0}/*"],
    "replicates": ["*/replicate-{0}/model.safetensors", "*/replicate-{0}/epochs.csv"],
}
"""What a block in a journal, by the name of its folder, has left."""
OF_ONE_RUN = ("*.partial", "*/tmp*", "*/checkpoint.pt")
"""Files that a run writes for itself, other at each moment."""


@dataclass
class Undisturbed:
    """What runs leave that nobody kills."""

    whole: dict[str, str]
    seconds: float
    known: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Digests of files, finished and unfinished."""

    def learn(self, found):
        for name, digest in found.items():
            self.known[name].add(digest)

    def left_by(self, journal, index):
        patterns = [pattern.format(index) for pattern in LEFT_BY_BLOCK[journal]]
        files = [name for name in self.known if any(fnmatch(name, each) for each in patterns)]
        assert files, (journal, index)
        return files


@pytest.fixture(params=KILLS, scope="module")
def verb(request):
    return request.param


@pytest.fixture(scope="module")
def fresh(verb, inputs, calls, tmp_path_factory):
    """Makes a folder that nobody has written to, and the command for it."""

    def fresh(name):
        folder = tmp_path_factory.mktemp(name)
        if verb == "segment":  # shards are never written in place, so links are as good as copies
            shutil.copytree(inputs / "scan.zarr", folder / "scan.zarr", copy_function=os.link)
        serial = () if verb == "train" else ("--cluster", "serial")
        return folder, (*calls[verb](inputs, folder), *serial)

    return fresh


@pytest.fixture(scope="module")
def undisturbed(fresh, commands, digests):
    times = []
    for _ in range(2):  # the first one has more to load
        folder, command = fresh("whole")
        start = time.monotonic()
        commands.finish(*command)
        times.append(time.monotonic() - start)
    found = Undisturbed(digests(folder), min(times))
    found.learn(found.whole)
    for order in (("1/2", "2/2"), ("2/2", "1/2")):  # what the last part leaves is not seen
        folder, command = fresh("parts")
        while digests(folder) != found.whole:
            for part in order:
                commands.finish(*command, "--part", part)
                found.learn(digests(folder))
    return found


def test_no_kill_changes_or_repeats_anything(verb, fresh, undisturbed, commands, digests):
    rng = random.Random(verb)
    kills = trials = 0
    while kills < KILLS[verb]:
        trials += 1
        assert trials <= 10 * KILLS[verb], "kills hardly ever meet a run at work"
        folder, command = fresh("killed")
        finished, done = False, {}
        while not finished:
            codes = _under_fire(commands, command, undisturbed.seconds, rng)
            kills += codes.count(-9)
            finished = 0 in codes
            if finished and -9 in codes:  # who was killed may have come after who finished
                commands.finish(*command)
            _nothing_is_done_again(done)
            done |= _finished_blocks(folder, undisturbed, digests)
        assert digests(folder) == undisturbed.whole


def _under_fire(commands, command, seconds, rng):
    """Start one run or two, kill one or all; the exit codes."""
    runs, killed = rng.choice([(1, 1), (1, 1), (2, 2), (2, 2), (2, 1)])
    commands.forget_messages()
    processes = [commands.start(*command) for _ in range(runs)]
    processes[0].join(seconds * rng.random())
    for process in processes[:killed]:
        process.kill()
    for process in processes:
        process.join(400)
    codes = [process.exitcode for process in processes]
    assert {*codes} <= {0, -9}, (codes, commands.messages())
    assert -9 not in codes[killed:]
    return codes


def _finished_blocks(folder, undisturbed, digests):
    """Files of the blocks that a journal calls finished, with their times; all of them right.

    A kill may have met a run that was taking the journal of a whole product away: what is left of
    the journal then says nothing, and nobody asks it.
    """
    found = digests(folder)
    if undisturbed.whole.items() <= found.items():
        found = {name: found[name] for name in undisturbed.whole}
    for name, digest in found.items():
        right = undisturbed.known.get(name, ())
        assert digest in right or any(fnmatch(name, own) for own in OF_ONE_RUN), f"{name} is wrong"
    journals = [Path(name) for name in found if Path(name).parent.name in LEFT_BY_BLOCK]
    records = [path for path in journals if path.suffix == ".json"]
    left = [n for path in records for n in undisturbed.left_by(path.parent.name, int(path.stem))]
    missing = [name for name in left if name not in found]
    assert not missing, f"the journal lies: {missing}"
    return {folder / name: (folder / name).stat().st_mtime_ns for name in left}


def _nothing_is_done_again(done):
    for path, time_ns in done.items():
        assert not path.exists() or path.stat().st_mtime_ns == time_ns, f"{path} was done again"


def test_kills_while_overwriting_lose_nothing(verb, fresh, undisturbed, commands, digests):
    """What was finished is deleted; where that stops half-way its journal is not believed."""
    rng = random.Random(f"overwriting, {verb}")
    for _ in range(4):
        folder, command = fresh("overwritten")
        for before in (undisturbed.seconds * rng.uniform(0.3, 0.9), None):  # unfinished, finished
            _kill_after(commands.start(*command), before)
            for _ in range(3):
                overwriting = commands.start(*command, "--overwrite")
                _kill_after(overwriting, undisturbed.seconds * rng.uniform(0.1, 0.6))
            commands.finish(*command)
            assert digests(folder) == undisturbed.whole


def _kill_after(process, seconds):
    process.join(seconds)
    process.kill()
    process.join()


def test_two_runs_at_once_give_the_same(fresh, undisturbed, commands, digests):
    """As when a node that was thought to be lost still works on what another has taken over."""
    folder, command = fresh("both")
    runs = [commands.start(*command) for _ in range(2)]
    for run in runs:
        assert commands.end(run)[0] == 0
    assert digests(folder) == undisturbed.whole
