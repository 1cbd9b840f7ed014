"""The stage on real volumes: files in, tables out, resumed, refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import csv
from skimage.measure import label, regionprops_table

from xctvol.errors import InputError, PlanError, UsageError
from xctvol.materials import Materials
from xctvol.stages.measure import measure
from xctvol.stages.measure.options import Options
from xctvol.stages.measure.stage import measure_plan
from xctvol.tables import open_tables
from xctvol.units import Spacing

MATERIALS = Materials.from_json(
    [
        {"name": "tissue", "mask": 7, "label": 7},
        {"name": "air, open", "mask": 2, "label": 2},
        {"name": "vein", "mask": 3, "label": 3},
    ]
)
FILES = ["interfaces.csv", "materials.csv", "measure.json", "regions.csv", "regions.parquet"]
FILES += ["slices.csv"]


@pytest.fixture
def values():
    random = np.random.default_rng(11)
    return random.choice(np.uint8([0, 2, 7]), (20, 24, 28), p=[0.5, 0.2, 0.3])


@pytest.fixture
def labels(values, labels_of):
    return labels_of(values, Spacing(2.0, 0.5, 0.5), MATERIALS)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_tables_say_what_scikit_image_says(values, labels, tmp_path):
    tables = measure(labels, tmp_path / "out").run()
    want = label(values, connectivity=3, background=0)
    table = regionprops_table(want, values, properties=("area", "centroid", "intensity_max"))
    regions = tables.regions
    assert regions["label"].tolist() == list(range(1, want.max() + 1))
    assert regions["voxels"].tolist() == table["area"].tolist()
    names = {7: "tissue", 2: "air, open"}
    assert regions["material"].tolist() == [names[int(v)] for v in table["intensity_max"]]
    for i, axis in enumerate("zyx"):
        np.testing.assert_allclose(regions[f"centroid_{axis}"], table[f"centroid-{i}"], rtol=1e-12)
    materials = tables.materials
    assert materials["material"].tolist() == ["tissue", "air, open", "vein"]
    assert materials["label"].tolist() == [7, 2, 3]
    assert materials["voxels"].tolist() == [int((values == v).sum()) for v in (7, 2, 3)]
    assert materials["volume_um3"].tolist() == [(values == v).sum() * 0.5 for v in (7, 2, 3)]
    assert materials["connectivity_density_per_um3"].isna().tolist() == [False, False, True]
    assert tables.interfaces["material_a"].tolist() == ["tissue", "tissue", "air, open"]
    assert tables.interfaces["face_area_um2"].tolist()[1:] == [0, 0]
    assert len(tables.slices) == 20 * 3
    assert tables.record["connectivity"] == 26
    assert tables.record["spacing_um"] == [2.0, 0.5, 0.5]


def test_the_folder_holds_the_tables_and_nothing_else(labels, tmp_path):
    out = tmp_path / "out"
    tables = measure(labels, out).run()
    assert sorted(path.name for path in out.iterdir()) == FILES
    pd.testing.assert_frame_equal(
        csv.read_csv(out / "regions.csv").to_pandas(), tables.regions.astype({"material": "str"})
    )


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_bytes_are_equal_for_any_blocks(labels, tmp_path, connectivity):
    whole = measure(labels, tmp_path / "whole", connectivity=connectivity)
    parts = measure_plan(labels, tmp_path / "parts", Options(connectivity), (7, 9, 28))
    assert len(parts.stages[0].blocks) == 9
    whole.run()
    parts.run()
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_stopped_run_continues_with_equal_bytes(labels, tmp_path):
    measure(labels, tmp_path / "whole").run()
    out = tmp_path / "out"
    for number in (1, 3):  # the second of three parts never runs
        assert measure_plan(labels, out, Options(), (7, 9, 28)).part(number, 3).run() is None
    with pytest.raises(InputError, match="unfinished"):
        open_tables(out)
    rest = measure_plan(labels, out, Options(), (7, 9, 28))
    assert [block.index for block in rest.stages[0].pending()] == [1, 4, 7]
    rest.run()
    assert contents(tmp_path / "whole") == contents(out)


def test_parts_finish_the_tables(labels, tmp_path):
    plan = measure_plan(labels, tmp_path / "out", Options(), (7, 9, 28))
    results = [plan.part(n, 2).run() for n in (1, 2, 1)]
    assert results[0] is None
    assert results[-1] is not None


def test_done_twice_is_done_once(labels, tmp_path):
    out = tmp_path / "out"
    measure(labels, out).run()
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert measure(labels, out).finished()
    measure(labels, out).run()
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_other_options_do_not_replace_tables_silently(labels, tmp_path):
    out = tmp_path / "out"
    measure(labels, out).run()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(PlanError, match="connectivity"):
        measure(labels, out, connectivity=6).run()
    tables = measure(labels, out, connectivity=6).overwrite().run()
    assert tables.record["connectivity"] == 6
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_of_something_else_is_refused(labels, tmp_path):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "leaf.png").write_bytes(b"png")
    with pytest.raises(PlanError, match="holds no measurements"):
        measure(labels, out).run()
    with pytest.raises(PlanError, match="holds no measurements"):
        measure(labels, out).overwrite().run()
    assert [path.name for path in out.iterdir()] == ["leaf.png"]


def test_labels_without_material_are_refused_with_their_number(values, labels_of, tmp_path):
    values[4, 5, 6] = values[9, 9, 9] = 9
    labels = labels_of(values, materials=MATERIALS)
    with pytest.raises(InputError, match=r"label 9 in 2 voxels of slices 0 to 19"):
        measure(labels, tmp_path / "out").run()
    assert not (tmp_path / "out" / "measure.json").exists()


def test_wide_labels_are_measured_if_they_are_small(values, labels_of, tmp_path):
    narrow = labels_of(values, materials=MATERIALS, name="narrow.zarr")
    wide = labels_of(values.astype(np.uint16), materials=MATERIALS, name="wide.zarr")
    measure(narrow, tmp_path / "narrow").run()
    measure(wide, tmp_path / "wide").run()
    one, other = tmp_path / "narrow" / "regions.csv", tmp_path / "wide" / "regions.csv"
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(("dtype", "label"), [(np.uint16, 300), (np.int16, -3)])
def test_labels_that_no_material_can_have_are_refused(values, labels_of, tmp_path, dtype, label):
    values = values.astype(dtype)
    values[0, 0, 0] = label
    labels = labels_of(values, materials=MATERIALS)
    with pytest.raises(InputError, match=rf"label {label} in 1 voxel .* are 1 to 255"):
        measure(labels, tmp_path / "out").run()


def test_an_impossible_connectivity_is_refused(labels, tmp_path):
    with pytest.raises(UsageError, match="use 6"):
        measure(labels, tmp_path / "out", connectivity=8)


def test_nothing_to_find_is_a_result(labels_of, tmp_path):
    tables = measure(labels_of(np.zeros((3, 4, 5), np.uint8)), tmp_path / "out").run()
    assert len(tables.regions) == 0
    assert tables.materials["voxels"].tolist() == [0, 0, 0]
    assert tables.materials["largest_region_fraction"].isna().all()
    assert tables.materials["connectivity_density_per_um3"].isna().all()
    assert (tables.slices["perimeter_um"] == 0).all()


def test_missing_and_damaged_tables_are_named(labels, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_tables(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no finished measurements"):
        open_tables(tmp_path)
    out = tmp_path / "out"
    measure(labels, out).run()
    kept = (out / "slices.csv").rename(tmp_path / "slices.csv")
    for use in (lambda: open_tables(out), lambda: measure(labels, out).run()):
        with pytest.raises(InputError, match=r"lacks slices\.csv, .* measure again with --over"):
            use()
    kept.rename(out / "slices.csv")
    (out / "regions.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"regions\.parquet"):
        _ = open_tables(out).regions
    (out / "measure.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="not a record"):
        open_tables(out)


def test_dry_plan_says_what_it_will_do(labels_of, tmp_path):
    labels = labels_of(np.ones((70, 150, 20), np.uint8))  # chunks of 16 x 128 x 128
    plan = measure_plan(labels, tmp_path / "out", Options(), (64, 128, 20))
    assert "4 blocks" in str(plan)
    # the halos of the second blocks along y and z are decoded with their whole chunks
    decoded = 64 * 128 * 20 + 64 * 150 * 20 + (70 - 48) * (128 + 150) * 20
    assert plan.reads == decoded
    assert f"{decoded / (70 * 150 * 20):.2f} times the volume" in str(plan)
    numbered = measure_plan(labels, tmp_path / "out", Options(instances="n"), (64, 128, 20))
    assert numbered.reads == 2 * decoded
    assert numbered.writes >= plan.writes + 4 * labels.volume.levels[0].shape[0] * 150 * 20
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("connectivity", [6, 26])
def test_scratch_is_not_more_than_planned(labels_of, tmp_path, connectivity):
    values = np.zeros((96, 200, 220), np.uint8)
    values[5:90, 20:180, 30:200] = 1
    values[40:44, 50:60, :] = 2
    options = Options(connectivity)
    plan = measure_plan(labels_of(values), tmp_path / "out", options, (64, 128, 128))
    plan.part(1, 2).run()
    plan.part(2, 2).run(listen=lambda _: None)
    other = measure_plan(labels_of(values), tmp_path / "other", options, (64, 128, 128))
    other.part(1, 2).run()
    written = sum(f.stat().st_size for f in (tmp_path / "other").rglob("*.np?"))
    assert 0 < written <= other.writes


def test_tasks_travel_to_workers(labels, tmp_path):
    for stage in measure(labels, tmp_path / "out").stages:
        assert pickle.loads(pickle.dumps(stage.task)) == stage.task
