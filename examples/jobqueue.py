"""Segment on workers that dask-jobqueue submits to SLURM one by one, as many as there is work for.

    python examples/jobqueue.py SCAN.zarr MODEL.safetensors

Any dask cluster does: what matters is its scheduler's address. `--cluster slurm` of the command
line needs none of this; it is for clusters that shall grow and shrink, and for notebooks.
"""

import sys

import dask
from dask_jobqueue import SLURMCluster

import xctvol as xv


def main() -> None:
    scan, model = sys.argv[1:]
    # adapt() replaces a worker that was cancelled only if it is counted as lost soon
    dask.config.set({"distributed.deploy.lost-worker-timeout": "3s"})
    # said, since this process may run where there is no GPU, and the workers where there is one
    plan = xv.segment(xv.open_volume(scan), xv.open_model(model), device="cpu")
    with SLURMCluster(
        cores=1,
        processes=1,
        memory=f"{2 * plan.peak_memory}B",
        walltime="01:00:00",
        interface="lo",  # what the nodes talk over, such as ib0
        worker_extra_args=["--death-timeout", "300"],
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=2)
        labels = plan.run(xv.Dask(address=cluster.scheduler_address))
        print(labels.volume.path)


if __name__ == "__main__":
    main()
