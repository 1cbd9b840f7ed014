"""What a segmentation holds in memory, against what its plan says, each in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import save_model
from xctvol.model.networks import build
from xctvol.units import Spacing
from xctvol.volume import Codec, Image, Window, halve_grey

pytestmark = pytest.mark.slow
MATERIALS = Materials.numbered(list(range(1, 7)))
RUN = """
import sys
from xctvol.grid import Box
from xctvol.model.file import open_model
from xctvol.resources import peak_memory
from xctvol.stages.segment import Where, segment
from xctvol.volume import open_volume

volume, model = open_volume(sys.argv[1]), open_model(sys.argv[2])
where = Where(roi=Box((0, 0, 0), (1, *volume.shape[1:])))
plan = segment(volume, model, device="cpu", where=where, precision=sys.argv[3])
plan.run()
print(plan.peak_memory, peak_memory())
"""


@pytest.mark.parametrize(
    ("architecture", "shape", "precision"),
    [
        ("unet", (192, 1024, 1024), "fp32"),
        ("fcn_resnet101", (2, 512, 640), "fp32"),
        ("fcn_resnet101", (2, 512, 640), "bf16"),
    ],
)
def test_no_more_is_held_than_was_planned(tmp_path, architecture, shape, precision):
    image = Image(tmp_path / "a.zarr", shape, np.dtype(np.uint16), Codec("zstd"))
    rng = np.random.default_rng(0)
    for block in image.layout.slabs:
        voxels = rng.integers(0, 60000, block.write.shape, np.uint16)
        image.write(block.write.start[0], voxels, halve_grey)
    image.finish(Spacing(1, 1, 1), {}, {})
    card = Card(architecture, MATERIALS, GreyScale("uint16", Window(0, 60000), 0.5, 0.3))
    weights = build(architecture, len(MATERIALS)).body.state_dict()
    save_model(tmp_path / "m.safetensors", card, weights)
    command = [sys.executable, "-c", RUN, tmp_path / "a.zarr", tmp_path / "m.safetensors"]
    done = subprocess.run(
        [*map(str, command), precision], capture_output=True, text=True, timeout=280, check=True
    )
    planned, held = map(int, done.stdout.split())
    assert planned / 2 < held <= planned
