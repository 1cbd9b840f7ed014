"""segment on a dask cluster that somebody else has started: what its workers have decides."""

import subprocess
import sys

import dask
import numpy as np
import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.execution import Dask
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.stages.segment import segment
from xctvol.units import Spacing
from xctvol.volume import Codec, Image, Window, halve_grey, open_volume

MATERIALS = Materials.numbered([1, 2, 3])


def scan_of(folder, shape):
    image = Image(folder / "a.zarr", shape, np.dtype(np.uint8), Codec("zstd"))
    voxels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for block in image.layout.slabs:
        image.write(block.write.start[0], voxels[block.write.slices], halve_grey)
    image.finish(Spacing(1, 1, 1), {}, {})
    card = Card("unet", MATERIALS, GreyScale("uint8", Window(0, 255), 0.4, 0.2))
    save_model(folder / "m.safetensors", card, build("unet", 3).body.state_dict())
    return open_volume(folder / "a.zarr"), open_model(folder / "m.safetensors")


@pytest.fixture
def cluster():
    """A scheduler and workers in this process, which others may reach over loopback."""
    with LocalCluster(
        n_workers=0, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None,
    ) as started:  # fmt: skip  # the options side by side
        yield started


def type_in(*words):
    return CliRunner().invoke(app, [*map(str, words), "--quiet"])


def test_workers_without_a_gpu_predict_on_their_processors(tmp_path, cluster):
    volume, model = scan_of(tmp_path, (70, 24, 32))
    command = ("segment", volume.path, model.path, "--cluster", cluster.scheduler_address)
    nobody = type_in(*command)
    assert nobody.exit_code == 2
    assert "has 0 workers, 0 of them with a GPU: say what" in nobody.stderr
    cluster.scale(1)
    cluster.wait_for_workers(1)
    assert "fp32 on the cpu of each worker" in type_in(*command, "--dry-run").stdout
    missing = type_in(*command, "--gpus", "1", "--labels", "gpu")
    assert missing.exit_code == 2
    assert "device cuda was asked for but torch sees 0 CUDA devices" in missing.stderr
    assert missing.stderr.startswith("xctvol: slices ")
    done = type_in(*command)
    assert done.exit_code == 0, done.stderr
    serial = segment(volume, model, labels="serial", device="cpu").run()
    theirs = open_labels(volume.path, "tissue")
    whole = Box.whole(volume.shape)
    np.testing.assert_array_equal(theirs.volume.read(whole), serial.volume.read(whole))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:1", "no dask scheduler answers at tcp://127.0.0.1:1"),
        ("nowhere.json", "nowhere.json does not exist"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_a_line(tmp_path, address, said):
    volume, model = scan_of(tmp_path, (2, 24, 32))
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        refused = type_in("segment", volume.path, model.path, "--cluster", address)
    assert refused.exit_code == 3
    assert said in refused.stderr


def test_more_gpus_than_there_are_here_are_refused(tmp_path):
    volume, model = scan_of(tmp_path, (2, 24, 32))
    refused = type_in("segment", volume.path, model.path, "--gpus", "99")
    assert refused.exit_code == 2
    assert "--gpus 99: torch sees" in refused.stderr


def start_worker(address):
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads=1"]
    return subprocess.Popen([*command, "--no-nanny", "--no-dashboard"], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_worker_that_comes_late_gets_work(tmp_path, cluster):
    volume, model = scan_of(tmp_path, (64 * 12, 160, 160))
    workers, busy = [start_worker(cluster.scheduler_address)], set()

    def listen(event):
        if event.usage is not None:
            busy.add(event.usage.process)
        if len(workers) == 1:
            workers.append(start_worker(cluster.scheduler_address))

    try:
        plan = segment(volume, model, device="cpu")
        plan.run(Dask(address=cluster.scheduler_address), listen)
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(timeout=30)
    assert len(busy) == 2
