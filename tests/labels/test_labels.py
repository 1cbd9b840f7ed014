"""Labels of a volume: what other programs say of theirs, and what ours may be called."""

import json

import numpy as np
import pytest
import SimpleITK
import zarr
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError, UsageError
from xctvol.labels import LabelsProduct, open_labels
from xctvol.stages.view.scene import scene

VALUES = np.arange(8 * 20 * 30, dtype=np.int32).reshape(8, 20, 30) % 400
IMAGE = {
    "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
    "datasets": [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 1, 1]}]}
    ],
}


def write_image(path, voxels, **ome):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=voxels, chunks=(8, 10, 10))
    group.attrs["ome"] = {"version": "0.5", "multiscales": [IMAGE], **ome}


@pytest.fixture
def foreign(tmp_path):
    """Makes a volume of another program with the labels `cells`, of which that much is said."""

    def make(said, values=VALUES):
        path = tmp_path / "scan.zarr"
        write_image(path, np.ones(values.shape, np.uint8))
        group = zarr.open_group(path / "labels", mode="w", zarr_format=3)
        group.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
        write_image(path / "labels" / "cells", values, **said)
        return path

    return make


def typed(*words):
    return CliRunner().invoke(app, [*map(str, words)])


SILENT = [
    {"image-label": {"source": {"image": "../../"}}},
    {"image-label": {}},
    {},
    {"image-label": {"colors": [{"label-value": 399, "rgba": [1, 2, 3, 255]}]}},
    {"image-label": {"properties": [{"label-value": -1, "class": "edge"}]}},
]


@pytest.mark.parametrize("said", SILENT)
def test_labels_that_say_nothing_of_their_values_have_no_materials(foreign, said):
    labels = open_labels(foreign(said))
    assert len(labels.materials) == 0
    shown = scene(labels.scan, [labels], "http://d/", "http://n/")["layers"]
    assert "segments" not in shown[-1]  # the viewer shows all


@pytest.mark.parametrize("said", SILENT[:2])
def test_they_do_not_stand_in_the_way_of_the_volume(foreign, tmp_path, said):
    path = foreign(said)
    info = typed("info", path, "--json")
    assert json.loads(info.stdout)["labels/cells"] == []
    for words in (("--labels", "cells"), ()):
        out = tmp_path / f"{len(words)}.nrrd"
        run = typed("export", path, out, *words, "-q")
        assert run.exit_code == 0, run.stderr
        found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(out)))
        np.testing.assert_array_equal(found, VALUES if words else np.ones(VALUES.shape))
    run = typed("report", path, tmp_path / "a.html", "-q")
    assert run.exit_code == 0, run.stderr


@pytest.mark.parametrize("values", [VALUES, VALUES % 4])
def test_measuring_them_says_in_a_line_what_is_missing(foreign, values):
    path = foreign(SILENT[0], values)
    run = typed("measure", path, "--cluster", "serial", "-q")
    assert run.exit_code == 3
    (line,) = run.stderr.splitlines()
    assert f"{path}/labels/cells has label" in line
    assert "no material with this label" in line


def test_their_surfaces_are_refused(foreign, tmp_path):
    run = typed("export", foreign(SILENT[0]), tmp_path / "a.glb", "--labels", "cells", "-q")
    assert run.exit_code == 2
    assert "holds labels of no material; only materials have surfaces" in run.stderr


def test_names_and_colours_become_materials(foreign):
    colors = [
        {"label-value": 2, "rgba": [1, 2, 255, 255]},
        {"label-value": 9, "rgba": None},
        {"label-value": 0, "rgba": [0, 0, 0, 0]},
    ]
    properties = [
        {"label-value": value, "name": name}
        for value, name in ((2, "stem"), (3, "cell"), (4, "cell"), (5, ""), (6, None), (7, 7))
    ]
    path = foreign({"image-label": {"colors": colors, "properties": properties}}, VALUES % 4)
    materials = open_labels(path).materials
    assert materials.labels == (2, 3, 4, 5, 6, 7, 9)
    assert materials.names == ("stem", "cell 3", "cell 4", "label 5", "label 6", "7", "label 9")
    assert materials[0].color == "#0102ff"


@pytest.mark.parametrize(
    "said",
    [
        {"colors": [{"label-value": 2, "rgba": [0.5, 0.1, 1.0, 1]}]},
        {"colors": [{"label-value": 2, "rgba": [1, 2]}]},
        {"colors": [{"label-value": 2, "rgba": "red"}]},
        {"colors": [{"label-value": 2, "rgba": [1, 2, 256, 255]}]},
        {"colors": [{"label-value": 2, "rgba": [True, 2, 3, 255]}]},
        {"colors": [{"label-value": "two"}]},
        {"colors": [{"label-value": float("inf")}]},
        {"colors": 5},
        {"properties": [{"name": "cell"}]},
        5,
    ],
)
def test_damaged_metadata_is_refused_with_its_place(foreign, said):
    path = foreign({"image-label": said})
    with pytest.raises(InputError, match=r"scan\.zarr/labels/cells: .* is damaged"):
        open_labels(path)


def test_materials_of_ours_that_are_damaged_are_refused_with_their_place(foreign):
    path = foreign({}) / "labels" / "cells"
    group = zarr.open_group(path, mode="a")
    group.attrs["xctvol"] = {"materials": [{"name": "leaf", "mask": 1, "label": 256}]}
    with pytest.raises(InputError, match=r"scan\.zarr/labels/cells: material 'leaf': label 256"):
        open_labels(path.parent.parent)


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "\t", ".", "..", ".hidden", "a/b", "/a", "zarr.json", "a\nb", "a\0b", "a\x7f",
        "a\u2028b", "\udcff", "x" * 256, "\N{GREEK SMALL LETTER ALPHA}" * 128,
    ],
)  # fmt: skip  # words
def test_names_that_would_be_in_the_way_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be the name of labels") as refused:
        LabelsProduct(tmp_path, name)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["tissue", "a b", "50 %#1", "zarr.json2", "Blattgewebe ß", "x" * 255]
)
def test_other_names_are_not(tmp_path, name):
    assert LabelsProduct(tmp_path, name).path.name == name
