"""Options of measure: which materials, how large, grey values, and the volume of numbers."""

import numpy as np
import pytest
from skimage.measure import label, regionprops_table
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.cli.measure import parse_volume
from xctvol.errors import InputError, PlanError, UsageError
from xctvol.materials import Materials
from xctvol.stages.measure import measure
from xctvol.stages.measure.blocking import choose_block
from xctvol.stages.measure.options import Options
from xctvol.stages.measure.stage import measure_plan
from xctvol.tables import open_tables
from xctvol.units import Spacing
from xctvol.volume import Image, default_codec, halve_grey, open_volume

SPACING = Spacing(2.0, 0.5, 0.5)
MATERIALS = Materials.numbered((1, 2, 3))


@pytest.fixture
def values():
    random = np.random.default_rng(4)
    return random.choice(np.uint8([0, 1, 2, 3]), (20, 24, 28), p=[0.4, 0.3, 0.2, 0.1])


@pytest.fixture
def labels(values, labels_of):
    return labels_of(values, SPACING, MATERIALS)


@pytest.fixture
def scan(values, tmp_path):
    """A volume of grey values with labels in it."""

    def write(greys):
        path = tmp_path / f"{greys.dtype}.zarr"
        image = Image(path, greys.shape, greys.dtype, default_codec(greys.dtype))
        image.write(0, greys.copy(), halve_grey)
        image.finish(SPACING, {}, {})
        return open_volume(path)

    return write


def of(values, *kept):
    return np.where(np.isin(values, kept), values, 0)


def test_other_materials_are_background(values, labels, labels_of, tmp_path):
    materials = Materials(tuple(m for m in MATERIALS if m.label != 2))
    alone = labels_of(of(values, 1, 3), SPACING, materials, "alone.zarr")
    measure(alone, tmp_path / "alone").run()
    chosen = measure(labels, tmp_path / "chosen", materials=["label 3", "label 1"]).run()
    for name in ("materials.csv", "slices.csv", "interfaces.csv", "regions.parquet"):
        assert (tmp_path / "chosen" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert chosen.materials["material"].tolist() == ["label 1", "label 3"]


def test_tissue_is_what_fractions_refer_to(values, labels, tmp_path):
    tables = measure(labels, tmp_path / "out", tissue=["label 1", "label 2"]).run()
    tissue = np.isin(values, (1, 2)).sum()
    counts = np.bincount(values.ravel())[1:]
    np.testing.assert_allclose(tables.materials["tissue_fraction"], counts / tissue)
    np.testing.assert_allclose(tables.materials["fraction"], counts / values.size)
    density = tables.materials["surface_um2"] / (tissue * SPACING.volume)
    np.testing.assert_allclose(tables.materials["surface_density_per_um"], density)
    assert tables.record["tissue"] == ["label 1", "label 2"]


@pytest.mark.parametrize(
    "options",
    [
        {"materials": ["leaf"]},
        {"tissue": ["leaf"]},
        {"materials": ["label 1"], "tissue": ["label 2"]},
    ],
)
def test_unknown_names_are_refused(labels, tmp_path, options):
    with pytest.raises(UsageError, match="label 1"):
        measure(labels, tmp_path / "out", **options)


def test_small_regions_are_left_out(values, labels, tmp_path):
    everything = measure(labels, tmp_path / "all").run()
    large = measure(labels, tmp_path / "large", min_volume_um3=2.0).run()  # four voxels
    kept = everything.regions[everything.regions["voxels"] >= 4].drop(columns="label")
    assert 0 < len(kept) < len(everything.regions)
    assert large.regions["label"].tolist() == list(range(1, len(kept) + 1))
    same = large.regions.drop(columns="label").reset_index(drop=True)
    assert same.equals(kept.reset_index(drop=True))
    assert large.materials["regions"].sum() == len(kept)
    columns = [name for name in large.materials if name != "regions"]
    assert large.materials[columns].equals(everything.materials[columns])


def test_small_regions_are_those_below_the_volume():
    spacing = Spacing(0.65, 0.65, 0.65)
    for voxels in (1, 2, 3, 7, 100, 12345):
        exact = Options(min_volume_um3=voxels * spacing.volume)
        above = Options(min_volume_um3=voxels * spacing.volume * (1 + 1e-9))
        assert exact.least_voxels(spacing) == voxels
        assert above.least_voxels(spacing) == voxels + 1
    assert Options().least_voxels(spacing) == 1


@pytest.mark.parametrize("volume", [-1.0, float("nan"), float("inf")])
def test_impossible_volumes_are_refused(volume):
    with pytest.raises(UsageError, match="smallest volume"):
        Options(min_volume_um3=volume)


@pytest.mark.parametrize(("connectivity", "least"), [(6, 1.5), (18, 1.5), (26, 0.0), (26, 1.5)])
def test_numbers_are_the_labels_of_scikit_image(values, labels, tmp_path, connectivity, least):
    options = Options(connectivity, min_volume_um3=least, instances="regions")
    tables = measure_plan(labels, tmp_path / "out", options, (7, 9, 28)).run()
    want = label(values, connectivity={6: 1, 18: 2, 26: 3}[connectivity], background=0)
    large = np.bincount(want.ravel()) * SPACING.volume >= least
    large[0] = False
    want = np.where(large, np.cumsum(large), 0)[want]
    volume = open_volume(tables.instances)
    got = volume.levels[0]
    voxels = np.empty(got.shape, got.dtype)
    got.read_into(_whole(got.shape), voxels)
    np.testing.assert_array_equal(voxels, want)
    assert volume.spacing == SPACING
    assert got.dtype == np.min_scalar_type(want.max())
    assert tables.regions["label"].iloc[-1] == want.max()


def _whole(shape):
    from xctvol.grid import Box

    return Box.whole(shape)


def test_numbers_are_written_in_slabs_of_the_volume(labels_of, tmp_path):
    values = np.zeros((150, 20, 20), np.uint8)
    values[10:140:3, ::4, ::4] = 1
    values[:, 2, 2] = 2
    labels = labels_of(values)
    tables = measure(labels, tmp_path / "out", connectivity=6, instances="n").run()
    voxels = open_volume(tables.instances).read(_whole(values.shape))
    np.testing.assert_array_equal(voxels, label(values, connectivity=1, background=0))
    whole = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in _files(tables.instances)}
    options = Options(6, instances="n")
    other = measure_plan(labels, tmp_path / "other", options, (100, 7, 11)).run()
    parts = {p.relative_to(tmp_path / "other"): p.read_bytes() for p in _files(other.instances)}
    assert parts == whole


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_overwriting_removes_the_numbers(labels, tmp_path):
    first = measure(labels, tmp_path / "out", instances="a").run().instances
    tables = measure(labels, tmp_path / "out").overwrite().run()
    assert not first.exists()
    assert tables.instances is None


def test_numbers_replace_nothing_else(labels, labels_of, values, tmp_path):
    measure(labels, tmp_path / "out").run()
    labels_of(values, name="out/mine.zarr")
    with pytest.raises(PlanError, match="holds no region numbers"):
        measure(labels, tmp_path / "out", instances="mine")
    with pytest.raises(UsageError, match="plain word"):
        measure(labels, tmp_path / "out", instances="../mine")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_grey_values_are_measured_across_blocks(values, labels, scan, tmp_path, dtype):
    limits = np.iinfo(dtype)
    random = np.random.default_rng(8)
    greys = random.integers(limits.min, limits.max, values.shape, dtype, endpoint=True)
    volume = scan(greys)
    tables = measure(labels, tmp_path / "out", intensity=volume).run()
    options = Options(intensity=volume)
    measure_plan(labels, tmp_path / "parts", options, (7, 9, 28)).run()
    for name in ("regions.parquet", "materials.csv"):
        whole, parts = (tmp_path / folder / name for folder in ("out", "parts"))
        assert whole.read_bytes() == parts.read_bytes()
    names = ("intensity_mean", "intensity_std", "intensity_min", "intensity_max")
    want = label(values, connectivity=3, background=0)
    table = regionprops_table(want, greys.astype(float), properties=names)
    for name in names:
        np.testing.assert_allclose(tables.regions[name], table[name], rtol=1e-12, atol=1e-9)
    means = [greys[values == value].mean() for value in (1, 2, 3)]
    np.testing.assert_allclose(tables.materials["intensity_mean"], means, rtol=1e-12)


def test_grey_values_that_cannot_be_summed_are_refused(values, labels, scan, tmp_path):
    with pytest.raises(InputError, match="float32; grey values"):
        measure(labels, tmp_path / "out", intensity=scan(values.astype(np.float32)))
    with pytest.raises(InputError, match="same voxels"):
        measure(labels, tmp_path / "out", intensity=scan(values[1:].copy()))


def test_columns_can_be_read_alone(labels, tmp_path):
    measure(labels, tmp_path / "out").run()
    tables = open_tables(tmp_path / "out")
    part = tables.region_columns("material", "volume_um3")
    assert part.equals(tables.regions[["material", "volume_um3"]])


@pytest.mark.parametrize(
    ("shape", "chunk", "block"),
    [
        ((8000, 2560, 2560), (16, 128, 128), (64, 512, 1024)),
        ((256, 256, 256), (16, 128, 128), (64, 256, 256)),
        ((5, 7, 9), (16, 128, 128), (5, 7, 9)),
        ((1, 4000, 4000), (1, 128, 128), (1, 4000, 4000)),
        ((300, 3000, 3000), (1, 3000, 3000), (64, 375, 750)),
        ((300, 300, 300), (300, 300, 300), (64, 300, 300)),
        ((2000, 2000, 2000), (64, 64, 64), (64, 512, 1024)),
        ((2, 1, 1 << 21), (2, 1, 1 << 20), (2, 1, 1 << 19)),
    ],
)
def test_blocks_are_whole_chunks_and_not_too_large(shape, chunk, block):
    assert choose_block(shape, chunk) == block


def test_the_command_takes_all_options(labels, tmp_path):
    out = tmp_path / "out"
    typed = [
        "--material",
        "label 1",
        "--material",
        "label 3",
        "--tissue",
        "label 1",
        "--min-volume",
        "2um3",
    ]
    typed += ["--instances", "n", "--connectivity", "18", "--cluster", "serial", "--quiet"]
    command = ["measure", str(labels.volume.path), "--output", str(out), *typed]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"instances  {out / 'n.zarr'}" in done.stdout
    record = open_tables(out).record
    assert record["connectivity"] == 18
    assert record["min_volume_um3"] == 2
    assert record["tissue"] == ["label 1"]
    refused = CliRunner().invoke(app, [*command, "--intensity"])
    assert refused.exit_code == 2
    assert "without a scan" in refused.stderr


@pytest.mark.parametrize(("text", "volume"), [("10um3", 10), ("2 mm3", 2e9), ("1.5e3 nm³", 1.5e-6)])
def test_volumes_are_read_as_typed(text, volume):
    assert parse_volume(text) == pytest.approx(volume, rel=1e-12)


@pytest.mark.parametrize("text", ["10", "10um", "um3", "1.2.3um3", "10 lb3"])
def test_what_is_no_volume_is_refused(text):
    with pytest.raises(UsageError):
        parse_volume(text)
