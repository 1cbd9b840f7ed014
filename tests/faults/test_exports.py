"""Exports that are killed, alone or beside another run of the same command."""

import random

import numpy as np
import pytest

from xctvol.units import Spacing
from xctvol.volume import Codec, Image, halve_grey

pytestmark = pytest.mark.slow

KILLS = 10


@pytest.mark.parametrize("output", ["a.tif", "a.nrrd", "slices"])
def test_no_kill_changes_what_is_exported(commands, digests, tmp_path, output):
    rng = random.Random(output)
    voxels = np.random.default_rng(0).integers(0, 60000, (200, 64, 80), np.uint16)
    image = Image(tmp_path / "scan.zarr", voxels.shape, voxels.dtype, Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], voxels[block.write.slices], halve_grey)
    image.finish(Spacing(1, 1, 1), {}, {})
    command = ("export", tmp_path / "scan.zarr")
    commands.finish(*command, tmp_path / "whole" / output)
    whole = digests(tmp_path / "whole")
    kills = trial = 0
    while kills < KILLS:
        trial += 1
        assert trial <= 20 * KILLS, "kills hardly ever meet a run at work"
        folder = tmp_path / f"killed-{trial}"
        codes = [-9]
        while 0 not in codes:
            processes = [
                commands.start(*command, folder / output) for _ in range(rng.choice((1, 2)))
            ]
            processes[0].join(0.3 * rng.random())
            for process in processes[: rng.choice((1, 2))]:
                process.kill()
            codes = [commands.end(process)[0] for process in processes]
            assert {*codes} <= {0, -9}, commands.messages()
            kills += codes.count(-9)
        commands.finish(*command, folder / output)  # who was killed may have come last
        assert digests(folder) == whole
