"""Volumes of other programs: what their chunks take is planned, and converting plans it too."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import zarr

from xctvol.grid import Box
from xctvol.locations import S3Path
from xctvol.sources import crop, open_source
from xctvol.sources.slabs import held_bytes
from xctvol.stages.convert import convert
from xctvol.stages.export import export, solid
from xctvol.stages.export.picture import Picture
from xctvol.stages.export.stack import PROCESS_BYTES
from xctvol.volume import open_volume
from xctvol.volume.reading import reading_bytes

SHAPE = (130, 60, 50)


def write_foreign(path, voxels, chunks):
    """An image of one level, in chunks that are no shards."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array("0", shape=voxels.shape, dtype=voxels.dtype, chunks=chunks)
    array[...] = voxels
    steps = [{"type": "scale", "scale": [1, 1, 1]}]
    image = {
        "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": steps}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return open_volume(path)


@pytest.fixture
def deep(tmp_path):
    """A volume that is a single chunk."""
    return write_foreign(tmp_path / "deep.zarr", np.ones(SHAPE, np.uint16), SHAPE)


@pytest.mark.parametrize(("name", "copies"), [("a.tif", 2), ("a.nrrd", 1), ("slices", 1)])
def test_exporting_plans_for_the_chunks_it_decodes(scan, deep, tmp_path, name, copies):
    slab = Box((0, 0, 0), (64, 60, 50))
    held = PROCESS_BYTES + copies * 2 * slab.size
    assert export(deep, tmp_path / name).peak_memory == held + reading_bytes(deep.levels[0], [slab])
    slab = Box((0, 0, 0), (16 if name == "slices" else 64, 40, 1060))
    ours = export(scan.volume, tmp_path / name).peak_memory
    assert ours == PROCESS_BYTES + copies * 2 * slab.size


def test_converting_plans_for_the_chunks_it_decodes(deep, tmp_path):
    np.save(tmp_path / "a.npy", np.ones(SHAPE, np.uint16))
    theirs = open_source(deep.path)
    ours = open_source(tmp_path / "a.npy", spacing=deep.spacing)
    plans = [convert(source, tmp_path / "b.zarr") for source in (theirs, ours)]
    held = reading_bytes(deep.levels[0], [Box((0, 0, 0), (64, 60, 50))])
    assert plans[0].peak_memory == plans[1].peak_memory + held
    again = convert(theirs, tmp_path / "b.zarr").run()
    assert held_bytes(open_source(again.path)) == 0


def test_a_crop_reads_the_chunks_of_whole_slices(tmp_path):
    """In z it begins between two chunks, so that a slab of it needs both."""
    volume = write_foreign(tmp_path / "a.zarr", np.ones(SHAPE, np.uint16), (64, 60, 50))
    inside = Box((10, 3, 4), (74, 20, 30))
    nothing = held_bytes(crop(open_source(convert_to_ours(volume, tmp_path)), inside))
    found = held_bytes(crop(open_source(volume.path), inside))
    assert found - nothing == reading_bytes(volume.levels[0], [Box((10, 0, 0), (74, 60, 50))])


def convert_to_ours(volume, folder):
    return convert(open_source(volume.path), folder / "ours.zarr").run().path


def test_surfaces_plan_for_what_comes_from_a_bucket(scan, tmp_path):
    """Of labels in a bucket all that is wanted is fetched before it is decoded."""
    picture = Picture.of(scan.labels, 0, None)
    remote = replace(picture, path=S3Path("scans", "leaf.zarr"))
    remote.__dict__["_array"] = picture._array
    plans = [
        solid.export_surfaces(each, scan.labels.materials, 1000, tmp_path / "a.glb", None)
        for each in (picture, remote)
    ]
    assert remote.reading_bytes([picture.box]) == picture.nbytes
    assert solid._while_read(remote, 0) == 2 * picture.nbytes == 2 * solid._while_read(picture, 0)
    assert plans[1].peak_memory >= plans[0].peak_memory


MEMORY = """
import sys
from xctvol.resources import peak_memory
from xctvol.sources import open_source
from xctvol.stages.convert import convert
from xctvol.stages.export import export
from xctvol.volume import open_volume

source, output = sys.argv[1:]
zarr = output.endswith(".zarr")
plan = convert(open_source(source), output) if zarr else export(open_volume(source), output)
plan.run()
print(plan.peak_memory, peak_memory())
"""


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [(256, 512, 1024), (16, 128, 128)])
@pytest.mark.parametrize("output", ["a.tif", "a.nrrd", "slices", "b.zarr"])
def test_no_more_is_held_than_was_planned(tmp_path, output, chunks):
    voxels = np.random.default_rng(0).integers(0, 60000, (256, 512, 1024), np.uint16)
    write_foreign(tmp_path / "a.zarr", voxels, chunks)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "a.zarr"), str(tmp_path / output)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    planned, held = map(int, run.stdout.split())
    assert planned / 3 < held <= planned
