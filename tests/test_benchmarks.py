"""Every benchmark still runs, on the smallest data it takes: nothing else calls them for months.

benchmarks/network.py has a test of its own, in tests/model. Left out are `segment.py disk` and
`train.py memory`, which build networks of 200 MB several times; `train.py nmc` and `leaf`, which
read other scans and then do what sandstone does; `measure.py memory`, whose steps are those of
scale; and the peers of measure.py that are installed for a comparison only.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SANDSTONE = np.array([(0, 0, 255), (255, 0, 0), (0, 255, 0), (255, 255, 0)], np.uint8)
"""Colours of its materials in masks."""
MEANS = {r"\#": r"(?=[\d.]*[1-9])\d[\d.]*", r"\*": r"[^|]*"}
"""A number above zero and any cell, in the lines below, which the output has in this order."""

CONVERT = """
CPU of a sharded write with pyramid: # of the codec's
* threads take * s for what one does in * s: * times faster, * a thread
| | wall s | CPU s | MB/s | wall / xctvol's | CPU / xctvol's |
| xctvol | * | * | * | 1.00 | 1.00 |
| zarr-python, sharded | * | * | * | * | # |
| | wall s | CPU s | MB/s | wall / xctvol's | CPU / xctvol's |
| dask imread, rechunk, store (no pyramid) | * | * | * | * | # |
| dask, then coarsen and store each level | * | * | * | * | # |
| | wall s | CPU s | MB/s | wall / xctvol's | CPU / xctvol's |
| zarr-python | * | * | * | * | # |
| slices | window | slab MB | planned MB | measured MB |
| 64 | none | * | # | # |
| 640 | 0.1%,99.9% | * | # | # |
"""
SCALE = """
**128 slices of 32 x 32 uint16, * GB**
| files, size | #, * GB |
| last slice equals the source | True |
"""
PEERS = """
| 24^3 voxels, 26-connected | gives | blobs | classes | leaf |
| scipy label, a material at a time | box, centroid | # Mvox* | # Mvox* | # Mvox* |
"""
WORKERS = """
| blobs, 32^3, from files to sums | wall s | Mvoxel/s | processor s | Mvoxel/s each |
| 1 process | * | * | * | * |
| 2 processes | * | * | * | * |
two processes are # times as fast as one
"""
LEAF = """
| leaf, 512 x 32 x 32 = * Gvoxel | |
| wall, all | * |
| rate by quarters of the blocks, Mvoxel/s | * |
| largest worker by quarters, MB | #, #, #, # |
| planned a worker, MB | # |
| regions | # |
"""
SEGMENT = """
64 slices of 64 x 64, uint8, zstd ratio #
| device | pyramid | device time / wall | device busy | ms a slice | CPU ms a slice | * |
| 2 ms | no | # | # | # | * | * |
| 2 ms | yes | # | # | # | * | * |
| step | CPU ms a slice |
| read | * |
| all | * |
| 6 x 8 x 8 logits to 64 x 64 labels | ms | times | pixels that differ |
| plain | * | 1.0 | 0 |
| bands | * | # | 0 |
"""
CONVOLUTIONS = """
| channels | dilation | torch, ms | ours, ms | error of torch | ours | used |
| 64 to 64 | 1 | * | * | #e-0# | #e-0# | no |
| 2048 to 512 | 1 | # | # | #e-0# | #e-0# | yes |
"""
TRAIN = """
| network | x, y | reference, steps/s | xctvol | ratio |
| fcn_resnet50 | 32 x 32 | # | # | # |
| unet | 32 x 32 | # | # | # |
| held out | model | processor s | pore | quartz | clay | pyrite | macro-F1 |
| 2 | unet | * | * | * | * | * | # |
| 2 | pixel forest | * | # | # | # | # | # |
  2 trainings: 1 scans, 1 epochs, 2 replicates each; scored on 4 held-out slices
leaves/study # s
"""
RUNS = {
    "convert.py --slices 8 --side 32 --rounds 1": CONVERT,
    "convert.py scale --side 32 --gigabytes 0.0003": SCALE,
    "measure.py peers scipy --side 24": PEERS,
    "measure.py workers --side 16": WORKERS,
    "measure.py scale --side 32 --gvoxel 0.0005": LEAF,
    "segment.py pipeline costs tail --slices 64 --side 64 --cases 2": SEGMENT,
    "convolutions.py --side 32 --rounds 1": CONVOLUTIONS,
    "train.py steps sandstone phantom --data . --slices 2 --side 32 --fold 2 --epochs 1 "
    "--folder leaves --scans 1 --processes 1": TRAIN,
}


def write_sandstone(folder):
    """Three slices of plain squares, as grey as their material says."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "sandstone" / kind).mkdir(parents=True)
    for number in range(3):
        material = rng.integers(0, 4, (16, 16)).repeat(4, 0).repeat(4, 1)
        image, mask = (60 * material).astype(np.uint8), SANDSTONE[material]
        tifffile.imwrite(folder / "sandstone" / "images" / f"{number}.tif", image)
        tifffile.imwrite(folder / "sandstone" / "masks" / f"{number}.tif", mask, photometric="rgb")


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNS, ids=lambda command: command.split(" --")[0])
def test_benchmarks_print_what_they_measure(command, tmp_path):
    if "--data" in command:
        write_sandstone(tmp_path)
    program, *options = command.split()
    run = subprocess.run(
        [sys.executable, BENCHMARKS / program, *options],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads only cost on such small data
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    printed = iter(run.stdout.splitlines())
    for line in RUNS[command].strip("\n").splitlines():
        assert any(re.fullmatch(pattern(line), each) for each in printed), (line, run.stdout)


def pattern(line):
    pattern = re.escape(line)
    for sign, meaning in MEANS.items():
        pattern = pattern.replace(sign, meaning)
    return pattern


def test_every_benchmark_is_run_here_or_is_a_library():
    scripts = {file.name for file in BENCHMARKS.glob("*.py")}
    here = {command.split()[0] for command in RUNS}
    by_itself = {file for file in scripts if "a library of" in (BENCHMARKS / file).read_text()}
    assert scripts == here | by_itself | {"network.py"}
