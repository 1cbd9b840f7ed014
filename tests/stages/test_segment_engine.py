"""The engine of segment: slots, turns on the device, memory that runs out, parts of a scan.

`Grey` stands in for a model: it labels voxels by their grey value, takes its time, and fails when
it is told to. It enters where a model does, and nothing else is replaced.
"""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from xctvol.cli.options import Running
from xctvol.errors import InputError, PartialError, UsageError
from xctvol.grid import Box
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.devices import choose_device
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.stages.segment import Where, segment, stage
from xctvol.stages.segment import device as device_module
from xctvol.stages.segment.comparison import Comparison
from xctvol.stages.segment.device import Device, shared_device
from xctvol.units import Spacing
from xctvol.volume import (
    Codec,
    Image,
    Window,
    halve_grey,
    halve_labels,
    list_label,
    open_volume,
)

SHAPE = (330, 40, 48)  # six slabs
MATERIALS = Materials.numbered([1, 2, 3])


@dataclass(frozen=True)
class Grey:
    """Labels 1, 2 and 3 by thirds of the range of uint8."""

    slice_s: float = 0.0
    most: int = 100
    fails_at: int | None = None
    device: str = "cpu"
    needed_bytes: int = 1 << 40

    def open(self):
        return self

    def labels_into(self, slices, grey, out):
        if len(slices) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        if self.fails_at is not None and (slices == self.fails_at).any():
            raise RuntimeError("an illegal memory access was encountered")
        time.sleep(self.slice_s * len(slices))
        out[...] = 1 + slices // 86


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A scan whose first slice of each slab holds its number, and a model that nobody loads."""
    folder = tmp_path_factory.mktemp("engine")
    voxels = np.random.default_rng(0).integers(10, 250, SHAPE, np.uint8)
    voxels[100:140] //= 8  # dark slices
    voxels[129, 3, 4] = 251
    image = Image(folder / "a.zarr", SHAPE, np.dtype(np.uint8), Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], voxels[block.write.slices], halve_grey)
    image.finish(Spacing(1, 1, 1), {}, {})
    card = Card("unet", MATERIALS, GreyScale("uint8", Window(0, 255), 0.4, 0.2))
    save_model(folder / "m.safetensors", card, build("unet", 3).body.state_dict())
    return open_volume(folder / "a.zarr"), open_model(folder / "m.safetensors"), voxels


def plan_of(scan, name, prediction, slots=1, **where):
    volume, model, _ = scan
    plan = segment(volume, model, labels=name, device="cpu", where=Where(**where))
    (stage,) = plan.stages
    task = replace(stage.task, prediction=prediction)
    return replace(plan, stages=(replace(stage, task=task, slots=slots),))


def found(labels):
    return labels.volume.read(Box.whole(labels.volume.shape))


def shards(labels):
    path = labels.volume.path
    files = [file for file in path.rglob("c/**/*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_slots_overlap_and_write_the_same_bytes(scan, tmp_path):
    expected = 1 + scan[2] // 86
    one = plan_of(scan, "one", Grey()).run()
    events = []
    three = plan_of(scan, "three", Grey(slice_s=0.001), slots=3).run(listen=events.append)
    np.testing.assert_array_equal(found(one), expected)
    assert shards(one) == shards(three)
    last = {event.block: event.usage for event in events if event.usage}
    assert len(last) == 6
    assert sum(usage.read_bytes for usage in last.values()) == expected.nbytes
    assert sum(usage.device_s for usage in last.values()) >= 0.001 * SHAPE[0]
    assert all(usage.memory_bytes > 10_000_000 for usage in last.values())
    first_end = next(n for n, event in enumerate(events) if event.usage is None)
    assert len({event.block for event in events[:first_end]}) == 3, "three blocks are under way"


def test_the_device_serves_first_those_who_came_first():
    device, order, threads = Device("cpu"), [], []

    def work(number):
        with device.turn():
            order.append(number)

    with device.turn():
        for number in range(8):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while device._next < number + 2:
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join(timeout=10)
    assert order == list(range(8))


def test_a_turn_that_fails_is_over():
    device = Device("cpu")
    with pytest.raises(ValueError, match="x"), device.turn():
        raise ValueError("x")
    with device.turn():
        pass


def test_where_slices_do_not_fit_fewer_are_predicted_at_a_time():
    device, tried = Device("cpu"), []
    slices = np.zeros((9, 4, 5), np.uint8)

    class Small(Grey):
        def labels_into(self, slices, grey, out):
            tried.append(len(slices))
            super().labels_into(slices, grey, out)

    out = np.empty(slices.shape, np.uint8)
    assert list(device.label(Small(most=1), slices, None, out, 100)) == list(range(1, 10))
    assert (out == 1).all()
    assert tried == [4, 2, *[1] * 9]


def test_a_device_that_only_workers_have_is_planned_for_and_looked_for_there(scan):
    volume, model, _ = scan
    plan = segment(volume, model, labels="gpu", device="cuda:63")
    assert "fp16 on the cuda of each worker" in str(plan)
    assert plan.stages[0].slots == 3
    with pytest.raises(UsageError, match=r"slices \d+ to \d+: device cuda:63 was asked for but "):
        plan.run()
    with pytest.raises(UsageError, match="there is no device 'mps'"):
        segment(volume, model, labels="gpu", device="mps")


def test_a_slice_that_does_not_fit_is_refused_with_what_would(scan):
    message = (
        r"slices 0 to 63: one slice of 40 x 48 needs about 1\.1 TB on cpu, which has .* free: "
    )
    with pytest.raises(PartialError, match=message + r"slices of \d+ pixels would fit"):
        plan_of(scan, "none", Grey(most=0)).run()


def test_a_comparison_that_does_not_fit_is_left_out_with_a_warning(scan):
    plan = plan_of(scan, "compared", Grey())
    (stage,) = plan.stages
    compared = Comparison(
        Grey(), Grey(most=0), scan[0].path, stage.task.grey, stage.task.chosen, (3, 70)
    )
    task, heard = replace(stage.task, comparison=compared), []
    plan = replace(plan, stages=(replace(stage, task=task),))
    labels = plan.run(listen=lambda event: heard.append(event.note))
    np.testing.assert_array_equal(found(labels), 1 + scan[2] // 86)
    assert "agreement_with_fp32" not in labels.volume.own
    (warning,) = (note for note in heard if note.startswith("WARNING"))
    assert "cannot be compared with those of fp32: one slice of 40 x 48 needs" in warning


@dataclass(frozen=True)
class Greedy(Grey):
    """Holds memory while it fails, as activations are held, and leaves a trace of it."""

    held: list = field(default_factory=list)

    def labels_into(self, slices, grey, out):
        activations = np.empty(1 << 20, np.uint8)
        self.held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("out of memory")


def test_free_memory_is_that_without_what_did_not_fit(scan, monkeypatch):
    greedy, seen = Greedy(), []

    def available():
        seen.extend(held() is None for held in greedy.held)
        return 1 << 30

    monkeypatch.setattr(device_module, "available_memory", available)
    with pytest.raises(PartialError, match="would fit"):
        plan_of(scan, "greedy", greedy).run()
    assert seen
    assert all(seen)


@pytest.mark.parametrize(
    "message", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublas"]
)
def test_libraries_without_memory_get_fewer_slices(message):
    class Library:
        def labels_into(self, slices, grey, out):
            if len(slices) > 1:
                raise RuntimeError(message)
            out[...] = slices

    slices = np.arange(8, dtype=np.uint8).reshape(8, 1, 1)
    out = np.zeros_like(slices)
    assert list(Device("cpu").label(Library(), slices, None, out, 1)) == [*range(1, 9)]
    np.testing.assert_array_equal(out, slices)


def test_blocks_that_begin_together_share_one_device(monkeypatch):
    def slow(name):
        time.sleep(0.05)  # as the first question to a GPU takes
        return choose_device(name)

    monkeypatch.setattr(device_module, "choose_device", slow)
    monkeypatch.setattr(device_module, "_devices", {})
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(shared_device, ["cpu"] * 3))
    assert found[0] is found[1] is found[2]


@pytest.mark.parametrize("slots", [1, 3])
def test_a_device_that_fails_names_the_slices_and_nothing_is_done_twice(scan, slots):
    name = f"fails{slots}"
    plan = plan_of(scan, name, Grey(fails_at=251), slots)  # which is in slice 129 only
    with pytest.raises(PartialError, match=r"slices 128 to 191: cpu failed \(RuntimeError: an il"):
        plan.run()
    (stage,) = plan.stages
    done = {f: f.stat().st_mtime_ns for f in stage.journal.folder.glob("*.json")}
    assert len(done) >= 2
    seen = []
    labels = plan_of(scan, name, Grey(), slots).run(listen=seen.append)
    assert {event.block for event in seen} == set(range(6)) - {int(f.stem) for f in done}
    np.testing.assert_array_equal(found(labels), 1 + scan[2] // 86)


@dataclass(frozen=True)
class Careless(Grey):
    """A network with a bug of its own."""

    def labels_into(self, slices, grey, out):
        if (slices == 251).any():
            raise IndexError("list index out of range")
        super().labels_into(slices, grey, out)


def test_a_bug_in_a_network_keeps_its_traceback_and_names_the_slices(scan):
    with pytest.raises(IndexError, match="list index") as caught:
        plan_of(scan, "careless", Careless(), 3).run()
    assert caught.value.__notes__ == [f"with slices 128 to 191 of {scan[0].path}"]
    labels = plan_of(scan, "careless", Grey()).run()
    np.testing.assert_array_equal(found(labels), 1 + scan[2] // 86)


def test_a_damaged_shard_names_the_slices(scan, tmp_path):
    shard = scan[0].path / "0/c/3/0/0"
    whole = shard.read_bytes()
    try:
        shard.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=f"slices 192 to 255: {shard} is damaged"):
            plan_of(scan, "cut", Grey(), 3).run()
        shard.unlink()
        shard.mkdir()
        with pytest.raises(InputError, match=f"slices 192 to 255: {shard} is .* but a folder"):
            plan_of(scan, "cut", Grey(), 3).run()
        shard.rmdir()
    finally:
        shard.write_bytes(whole)
    np.testing.assert_array_equal(found(plan_of(scan, "cut", Grey()).run()), 1 + scan[2] // 86)


def test_only_a_region_is_labelled_and_the_rest_is_not_read(scan):
    roi = Box((70, 5, 7), (131, 30, 40))
    heard = []
    labels = plan_of(scan, "roi", Grey(), roi=roi).run(listen=heard.append)
    expected = np.zeros(SHAPE, np.uint8)
    expected[roi.slices] = (1 + scan[2] // 86)[roi.slices]
    np.testing.assert_array_equal(found(labels), expected)
    assert labels.volume.own["skipped_slices"] == SHAPE[0] - 61
    assert labels.volume.own["voxels"]["0"] == int((expected == 0).sum())
    read = {event.block for event in heard if event.usage and event.usage.read_bytes}
    assert read == {1, 2}
    assert labels.volume.own["recipe"]["options"]["where"] == {"roi": [[70, 5, 7], [131, 30, 40]]}


def test_only_where_a_mask_is(scan):
    volume = scan[0]
    mask = np.zeros(SHAPE, np.uint8)
    mask[200:202, 10:20, 5:9] = 4
    image = Image(volume.path / "labels/mask", SHAPE, np.dtype(np.uint8), Codec("zstd"))
    for block in image.layout.slabs:
        image.write(block.write.start[0], mask[block.write.slices], halve_labels)
    image.finish(volume.spacing, {"image-label": {}}, {"materials": MATERIALS.to_json()})
    (volume.path / "labels/zarr.json").unlink(missing_ok=True)
    list_label(volume.path, "mask")
    masked = open_labels(volume.path, "mask")
    labels = plan_of(scan, "masked", Grey(), mask=masked).run()
    np.testing.assert_array_equal(found(labels), (1 + scan[2] // 86) * (mask > 0))
    assert labels.volume.own["skipped_slices"] == SHAPE[0] - 2
    with pytest.raises(UsageError, match="cannot be written over"):
        plan_of(scan, "mask", Grey(), mask=masked)


def test_dark_slices_are_skipped(scan):
    labels = plan_of(scan, "dark", Grey(), skip_below=31).run()
    expected = 1 + scan[2] // 86
    expected[100:129] = expected[130:140] = 0
    np.testing.assert_array_equal(found(labels), expected)
    assert labels.volume.own["skipped_slices"] == 39


def test_grey_values_to_skip_below_are_those_before_the_window(scan):
    volume, _, _ = scan
    windowed = replace(volume, own={"window": [1000, 1000 + 255 * 4]})
    assert Where(skip_below=1040).within(windowed).dark == 10
    with pytest.raises(UsageError, match=r"no grey value is above 3000: .* window 1000\.\.2020"):
        Where(skip_below=3000).within(windowed)


@pytest.mark.parametrize("roi", [Box((0, 0, 0), (331, 4, 4)), Box((5, 0, 0), (5, 4, 4))])
def test_a_region_outside_is_refused(scan, roi):
    with pytest.raises(InputError, match="does not lie inside the scan"):
        plan_of(scan, "outside", Grey(), roi=roi)


def test_the_plan_counts_the_memory_of_every_slot(scan, monkeypatch):
    volume, model, _ = scan
    one = segment(volume, model, device="cpu")
    assert one.stages[0].slots == 1
    monkeypatch.setitem(stage._SLOTS, "cpu", 3)
    three = segment(volume, model, device="cpu")
    assert three.stages[0].slots == 3
    assert three.peak_memory - one.peak_memory == 2 * 64 * 40 * 48 * 3
    assert "for a slice" in str(three)
    pinned = [segment(volume, model, device="cuda:63").peak_memory]
    monkeypatch.setitem(stage._SLOTS, "cuda", 4)
    pinned.append(segment(volume, model, device="cuda:63").peak_memory)
    assert pinned[1] - pinned[0] == 2 * (1 << 17) + 64 * 40 * 48, "pinned in powers of two"


@pytest.mark.parametrize(
    ("slabs", "processors", "threads", "workers"),
    [(1, 8, 8, 1), (6, 8, 6, 1), (6, 2, 2, 1), (16, 8, 2, 4), (32, 8, 1, 8), (125, 64, 3, 21)],
)
def test_few_slabs_are_shared_out_within_a_process(
    scan, monkeypatch, slabs, processors, threads, workers
):
    """Else the last slab would leave all processors but one idle for long."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(processors))
    volume, model, _ = scan
    deep = replace(volume, levels=(replace(volume.levels[0], shape=(64 * slabs, 40, 48)),))
    plan = segment(deep, model, labels="shared out", device="cpu")
    assert plan.stages[0].task.prediction.threads == plan.stages[0].threads == threads
    assert Running(cluster="local", memory="1000GB").executor(plan).workers == workers
