"""benchmarks/network.py, which runs on GPUs too seldom to notice there that it no longer does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks/network.py"
ALONE = """
import runpy, sys

class OnlyTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"zarr", "numcodecs", "dask", "distributed", "safetensors"}:
            raise ModuleNotFoundError(f"no {name} on the machine with the GPU")

sys.meta_path.insert(0, OnlyTorch())
sys.argv[:2] = sys.argv[1:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_it_runs_on_a_processor_with_torch_alone(tmp_path):
    options = (
        "--architecture unet --sizes 40x48,17x16 --side 16 --rounds 1 "
        "--ways eager,contiguous,segment,weights"
    )
    command = [sys.executable, "-c", ALONE, BENCHMARK, "cpu", *options.split()]
    done = subprocess.run(
        [*map(str, command), "--results", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.glob("network-cpu-*.json")
    rows = json.loads(results.read_text())["rows"]
    ways = [(row["precision"], row["way"]) for row in rows if row["size"] == [40, 48]]
    exact = [("fp32", way) for way in ("eager", "contiguous", "segment")]
    assert ways == exact + [("bf16", way) for way in ("contiguous", "segment", "weights")]
    assert len(rows) == 2 * len(ways)
    assert all(row["ms"] > 0 and row["share"] > 0 for row in rows)
    assert all(row["equal_labels"] > 0.999 for row in rows if row["precision"] == "fp32")
    assert done.stdout.count("| 40 x 48 |") == len(ways)
