"""What takes long to load, loaded once by the process that commands are forked from.

Also a network that learns and predicts in no time: `--architecture forked:network`.
"""

import gc
import tempfile
from pathlib import Path

import numpy as np
import torch._dynamo
from torch import nn
from typer.testing import CliRunner

import xctvol.cli.progress
import xctvol.execution.dask
import xctvol.execution.slurm
import xctvol.sources.stack
import xctvol.stages.convert
import xctvol.stages.segment
import xctvol.stages.train
from xctvol.grid import Box
from xctvol.stages.measure.block import HALO, PADDING, Subject, measure_block
from xctvol.stages.measure.stage import measure_plan
from xctvol.stages.measure.surface import cell_table
from xctvol.stages.train.log import Epoch, draw_log
from xctvol.units import Spacing


def network(materials):
    features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(features, nn.Conv2d(8, materials, 1))


LOADED = (torch._dynamo, xctvol.stages, xctvol.sources, xctvol.execution, measure_plan)


def _load_what_is_loaded_when_needed():
    CliRunner().invoke(xctvol.cli.app, ["info", "nothing"])
    shape = (4, 4, 4)
    labels = np.pad(np.ones(shape, np.uint8), list(zip(HALO, PADDING, strict=True)))
    table = cell_table(Spacing(1, 1, 1))
    measure_block(labels, None, Box((0, 0, 0), shape), table, Subject(shape, 26))
    with tempfile.TemporaryDirectory() as folder:
        draw_log(Path(folder) / "a.png", [Epoch(1, 1.0, 1.0, 1.0, 1.0)], 1)


_load_what_is_loaded_when_needed()
gc.freeze()  # or each process would look through all of this, and copy it
