"""Hostile text and archives: tables in TOML, label maps, XML, outlines, journals, records."""

import io
import json
import zipfile

import numpy as np
import pytest
import tifffile
from hypothesis import strategies as st
from roifile import ImagejRoi

from xctvol.annotations import open_layers
from xctvol.annotations.cvat_masks import LabelMask
from xctvol.annotations.cvat_shapes import Shapes, annotated_images
from xctvol.annotations.imagej import Rois, positions
from xctvol.errors import InputError
from xctvol.execution.slurm import Profile, RunFolder
from xctvol.formats import stamp
from xctvol.journal import Journal, Recipe
from xctvol.materials import Materials
from xctvol.plan import FolderRecord
from xctvol.tables import TablesProduct, open_tables

EFFORT = pytest.mark.parametrize("examples", [25, pytest.param(250, marks=pytest.mark.slow)])
MATERIALS = Materials.from_json([{"name": n, "mask": i} for i, n in enumerate(("air", "leaf"))])
TABLE = """
ignore = 255
[[material]]
name = "air"
mask = [0, 7]
[[material]]
name = "leaf"
mask = [0, 128, 0]
drawn_as = ["le*", 2]
label = 4
color = "#1b5e20"
threshold = 0.25
"""
XML = """<?xml version="1.0"?>
<annotations><version>1.1</version><image id="0" name="a.png" width="40" height="30">
<polygon label="air" points="1.5,2.5;20,3;11,25" z_order="1"/>
<mask label="leaf" rle="3,5,7" left="2" top="3" width="5" height="3" z_order="0"/>
</image></annotations>"""


def in_pieces(text):
    """Text that is made of a good one's words in another order, with some odd ones."""
    words = text.replace("=", " = ").replace(":", " : ").split()
    odd = ["", "\n", "[", "]", "[[", '"', "'''", "=", ":", "-1", "1e999", "9" * 400, "\x00", "é"]
    pieces = st.lists(st.sampled_from([*words, *odd]), max_size=40)
    return st.builds(str.join, st.sampled_from([" ", "", "\n"]), pieces)


@EFFORT
def test_materials(tmp_path, contents, harmless, examples):
    path = tmp_path / "m.toml"

    def use(content):
        path.write_bytes(content)
        found = Materials.read(path)
        path.write_text(found.to_toml(), encoding="utf-8")
        assert Materials.read(path) == found

    texts = in_pieces(TABLE).map(str.encode)
    harmless(st.one_of(texts, contents(TABLE.encode())), use, examples)


@pytest.mark.parametrize("name", ["\U0001f33f leaf", "a\x7fb", 'a"\\b', "Blatt\u00fc", "a\tb\nc"])
def test_any_name_survives_its_table(tmp_path, name):
    """JSON writes the first as two halves and the second bare, which TOML has not."""
    materials = Materials.from_json([{"name": name, "mask": 1, "drawn_as": [name, 3]}])
    (tmp_path / "m.toml").write_text(materials.to_toml(), encoding="utf-8")
    assert Materials.read(tmp_path / "m.toml") == materials


def test_nests_are_refused(tmp_path):
    """Thousands of brackets, for which the parser would call itself as often."""
    for read, name in ((Materials.read, "m.toml"), (Profile.read, "c.toml")):
        (tmp_path / name).write_text("a = " + "[" * 5000)
        with pytest.raises(InputError, match="cannot read"):
            read(tmp_path / name)
    (tmp_path / "layers.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(InputError, match="cannot read the layers"):
        open_layers(tmp_path, tmp_path)


@EFFORT
def test_cluster_profiles(tmp_path, contents, harmless, examples):
    path = tmp_path / "c.toml"
    good = 'mode = "array"\nworkers = 4\nmem = "64G"\nsetup = ["module load cuda"]\n'

    def use(content):
        path.write_bytes(content)
        Profile.read(path)

    texts = in_pieces(good).map(str.encode)
    harmless(st.one_of(texts, contents(good.encode())), use, examples)


@EFFORT
def test_layers(tmp_path, contents, harmless, examples):
    good = '[[layer]]\nfolder = "a"\nelsewhere = "air"\n[[layer]]\nfolder = "b"\nignore = 0\n'

    def use(content):
        (tmp_path / "layers.toml").write_bytes(content)
        for layer in open_layers(tmp_path, tmp_path):
            assert layer.folder.resolve().is_relative_to(tmp_path.resolve())

    texts = in_pieces(good + '"../b" "/etc" ".." "a/../../b"').map(str.encode)
    harmless(st.one_of(texts, contents(good.encode())), use, examples)


@EFFORT
def test_label_maps(tmp_path, contents, harmless, examples):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    good = "# label:color_rgb:parts:actions\nair:0,0,0::\nleaf:0,128,0::\n"
    mask = LabelMask(tmp_path / "a.tif", tmp_path / "labelmap.txt")

    def use(content):
        (tmp_path / "labelmap.txt").write_bytes(content)
        assert (mask.read((4, 5), MATERIALS) == 0).all()

    texts = in_pieces(good).map(str.encode)
    harmless(st.one_of(texts, contents(good.encode())), use, examples)


@EFFORT
def test_xml(tmp_path, contents, harmless, examples):
    path = tmp_path / "annotations.xml"
    numbers = st.sampled_from(["-1", "0", "99999999999999999999", "1e999", "nan", "", "x", "1,2"])

    def use(content):
        path.write_bytes(content)
        for name in annotated_images(path):
            assert Shapes(path, name).read((30, 40), MATERIALS).shape == (30, 40)

    parts = XML.split('"')
    places = st.integers(0, len(parts) // 2 - 1).map(lambda i: 2 * i + 1)

    def with_value(place, value):
        return '"'.join([*parts[:place], value, *parts[place + 1 :]]).encode()

    damaged = st.builds(with_value, places, numbers)
    harmless(st.one_of(damaged, contents(XML.encode())), use, examples)


LAUGHTER = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
LAUGHS = f'<!DOCTYPE a [<!ENTITY a0 "ha">{LAUGHTER}]>'
ENTITIES = [
    LAUGHS,
    '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
    '<!DOCTYPE a [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>',
]


@pytest.mark.parametrize("head", ENTITIES, ids=["laughs", "file", "network", "parameter"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_refused(tmp_path, harmless, head, encoding):
    path = tmp_path / "annotations.xml"
    body = XML.replace(
        '<?xml version="1.0"?>', f'<?xml version="1.0" encoding="{encoding}"?>{head}'
    )
    path.write_bytes(body.replace("air", "&a11;").encode(encoding))

    def use(_):
        with pytest.raises(InputError, match=r"cannot read .* as XML of CVAT"):
            annotated_images(path)

    harmless(st.none(), use, 1)


@EFFORT
def test_archives_of_outlines(tmp_path, contents, harmless, examples):
    roi = ImagejRoi.frompoints(np.array([[1, 2], [20, 3], [11, 25]], np.float32)).tobytes()
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("air.roi", "../leaf.roi", "/etc/air.roi"):
            member = zipfile.ZipInfo(name)  # as of 1980: the same bytes whenever this runs
            archive.writestr(member, roi, zipfile.ZIP_DEFLATED)
    good = stored.getvalue()
    names = sorted(tmp_path.parent.iterdir())

    def use(content):
        (tmp_path / "RoiSet.zip").write_bytes(content)
        assert Rois(tmp_path / "RoiSet.zip").read((30, 40), MATERIALS).shape == (30, 40)
        positions(tmp_path / "RoiSet.zip")

    def tail(place, value):  # the directory, which says how large everything is
        changed = bytearray(good)
        changed[-1 - place] = value
        return bytes(changed)

    directory = st.builds(tail, st.integers(0, 180), st.integers(0, 255))
    harmless(st.one_of(directory, contents(good)), use, examples)
    assert sorted(tmp_path.parent.iterdir()) == names
    size = good.rindex(b"PK\x01\x02") + 23  # the highest byte of how many are packed
    harmless(st.just(good[:size] + b"\xff" + good[size + 1 :]), use, 1)


@EFFORT
def test_journals(tmp_path, documents, contents, harmless, examples):
    """A note that is damaged is never believed, wherever the damage is."""
    journal = Journal(tmp_path)
    result = {"shards": [{"c/0/0/0": "0123abcd"}], "counts": [1, 2.5, None], "not": {"1": True}}
    journal.record(3, result)
    file = tmp_path / "000003.json"
    good = json.loads(file.read_text())

    def use(content):
        file.write_bytes(content)
        assert journal.results() == {3: result}

    texts = documents(good).map(lambda document: json.dumps(document).encode())
    harmless(st.one_of(texts, contents(file.read_bytes())), use, examples)


@pytest.mark.parametrize("name", ["7.json", "²³.json", "-1.json", "000001.json.json", "a.json"])
def test_files_that_are_no_notes_count_as_none(tmp_path, name):
    (tmp_path / name).write_text("{}")
    assert (Journal(tmp_path).done(), Journal(tmp_path).results()) == (frozenset(), {})


@EFFORT
def test_recipes(documents, harmless, examples):
    good = Recipe("convert", {"source": {"a": [1, 2]}}, {"window": "none"}).to_json()

    def use(document):
        recipe = Recipe.from_json(json.loads(json.dumps(document)))
        assert Recipe.from_json(recipe.to_json()).digest == recipe.digest
        assert recipe.differences(recipe) == []

    harmless(documents(good), use, examples)


@EFFORT
def test_runs(tmp_path, documents, contents, harmless, examples):
    good = {**stamp("run"), "command": "xctvol", "profile": {"workers": 2}, "jobs": ["4711"]}
    (tmp_path / "results").mkdir()
    ended = {"job": "4711", "exit_code": 0}

    def use(content):
        record, result = content
        (tmp_path / "run.json").write_bytes(record)
        (tmp_path / "results/1.json").write_text(json.dumps(result))
        run = RunFolder.open(tmp_path)
        assert all(job.isdigit() for job in run.jobs)  # which SLURM's commands are given
        assert isinstance(run.exit_code(), int)
        assert isinstance(run.command, str)

    texts = documents(good).map(lambda document: json.dumps(document).encode())
    records = st.one_of(st.just(json.dumps(good).encode()), texts, contents(b'{"format": 1}'))
    harmless(st.tuples(records, st.one_of(st.just(ended), documents(ended))), use, examples)


@EFFORT
def test_records_of_tables(tmp_path, documents, harmless, examples):
    product = TablesProduct(tmp_path)
    (tmp_path / "materials.csv").write_text("a\n1\n")
    product.finish({"instances": None, "labels": "a.zarr"}, Recipe("measure", {}, {}))
    good = json.loads(product.mark.read_text())

    def use(document):
        product.mark.write_text(json.dumps(document))
        tables = open_tables(tmp_path)
        assert tables.instances is None or tables.instances.parent == tmp_path
        assert all((tmp_path / name).parent == tmp_path for name in product.files())
        product.made_by()
        record = FolderRecord.read(product.mark, "measurements")
        assert record.is_whole() == (record.says == good)
        _ = record.files

    harmless(documents(good), use, examples)
