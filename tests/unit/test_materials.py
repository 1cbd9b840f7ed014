import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctvol.errors import InputError
from xctvol.materials import Material, Materials

LEAF = """
[[material]]
name = "epidermis"
mask = 85
label = 7
color = "#1B5E20"
threshold = 0.25

[[material]]
name = "vein"
mask = [[0, 0, 255], [0, 0, 254]]

[[material]]
name = "air"
mask = [170, 255]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "leaf.toml"
        path.write_text(text, encoding="utf-8")
        return Materials.read(path)

    return read


def entry(**fields):
    return {"name": "air", "mask": 1} | fields


def test_a_table_with_all_fields_and_one_with_defaults(read):
    epidermis, vein, air = read(LEAF)
    assert epidermis == Material("epidermis", ((85,),), 7, "#1b5e20", 0.25)
    assert epidermis.rgb == (27, 94, 32)
    assert (vein.label, vein.threshold) == (2, 0.5)
    assert len({epidermis.color, vein.color, air.color}) == 3


def test_materials_are_a_sequence(read):
    materials = read(LEAF)
    assert materials.names == ("epidermis", "vein", "air")
    assert materials.labels == (7, 2, 3)
    assert (len(materials), materials[1].name) == (3, "vein")


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (85, ((85,),)),
        (2**32 - 1, ((2**32 - 1,),)),
        ([1, 2], ((1,), (2,))),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1], [2], [3]], ((1,), (2,), (3,))),
        ([1, 2, 3, 4], ((1,), (2,), (3,), (4,))),
        ([[1, 2, 3]], ((1, 2, 3),)),
        ([[1, 2, 3], 4], ((1, 2, 3), (4,))),
    ],
)
def test_mask_values_are_greys_or_colors(mask, values):
    (material,) = Materials.from_json([entry(mask=mask)])
    assert material.mask == values


@pytest.mark.parametrize(
    "mask",
    [
        -1,
        2**32,
        1.0,
        True,
        "red",
        None,
        {},
        [[]],
        [[1, 2]],
        [0, 0, 256],
        [1, 2, True],
        [[1, 2, -3]],
    ],
)
def test_what_is_not_a_mask_value(mask):
    with pytest.raises(InputError, match=r"material 'air': .* is not a mask value; write a grey"):
        Materials.from_json([entry(mask=mask)])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, "no materials: write one"),
        ([], "no materials: write one"),
        ({"name": "air"}, "no materials: write one"),
        ([7], "material 1 is not a table"),
        ([entry(), entry(name="", mask=2)], "material 2 needs a name"),
        ([entry(name=3)], "material 1 needs a name"),
        ([{"name": "air"}], r"material 'air' needs the grey value or colour .* \(mask = 85\)"),
        ([entry(colour="#000000")], "unknown key 'colour'; known are name, mask, label, color"),
        ([entry(mask=[])], "list of mask values is empty"),
        ([entry(label=0)], "label 0 is not a whole number from 1 to 255"),
        ([entry(label=256)], "label 256"),
        ([entry(label=True)], "label True"),
        ([entry(label="1")], "label '1'"),
        ([entry(color="red")], "color 'red' is not written like #1b5e20"),
        ([entry(color="#12345g")], "is not written like"),
        ([entry(color=0)], "color 0"),
        ([entry(threshold=0)], "threshold 0 is not a number between 0 and 1"),
        ([entry(threshold=1.0)], "threshold 1.0"),
        ([entry(threshold=float("nan"))], "threshold nan"),
        ([entry(threshold=True)], "threshold True"),
        ([entry(), entry(mask=2)], "two materials have the same name 'air'"),
        ([entry(), entry(name="vein", mask=[2, 1])], "two materials have the same mask value 1;"),
        (
            [entry(mask=[0, 0, 9]), entry(name="vein", mask=[[0, 0, 9], 4])],
            r"same mask value \(0, 0, 9\)",
        ),
        ([entry(label=2), entry(name="vein", mask=2)], "two materials have the same label 2"),
        ([entry(drawn_as="")], "'air': drawn_as '' is neither a name nor the number of a group"),
        ([entry(drawn_as=["air", 256])], "drawn_as 256 is neither"),
        ([entry(drawn_as=True)], "drawn_as True is neither"),
        ([{"name": "air", "drawn_as": []}], "material 'air' needs the grey value or colour"),
        (
            [entry(drawn_as=3), entry(name="vein", mask=2, drawn_as=["v", 3])],
            "two materials have the same name for what is drawn 3",
        ),
    ],
)
def test_tables_that_are_refused(entries, message):
    with pytest.raises(InputError, match=message):
        Materials.from_json(entries)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[material]\n", "cannot read the materials in .*line 1"),
        ("", "no materials"),
        ('[material]\nname = "air"\nmask = 1', "no materials"),
        ('[[material]]\nname = "air"', "material 'air' needs the grey value"),
        ('[[materials]]\nname = "air"', "the table has the unknown key 'materials'; known are ign"),
        ("ignore = 1.5\n[[material]]\nname = 'air'\nmask = 1", "ignore: 1.5 is not a mask value"),
        (
            "ignore = [0, 1]\n[[material]]\nname = 'air'\nmask = 1",
            "material 'air' has the mask value 1, which `ignore` says to leave out",
        ),
    ],
)
def test_errors_name_the_file(read, tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(text)
    assert str(tmp_path / "leaf.toml") in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    missing, binary = tmp_path / "missing.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=re.escape(f"{missing} does not exist; it should name")):
        Materials.read(missing)
    with pytest.raises(InputError, match=re.escape(f"cannot read the materials in {binary}")):
        Materials.read(binary)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path} is not a regular file")):
        Materials.read(tmp_path)


greys = st.integers(0, 2**32 - 1).map(lambda grey: [grey])
colors = st.lists(st.integers(0, 255), min_size=3, max_size=3)


@st.composite
def tables(draw):
    count = draw(st.integers(1, 6))
    names = draw(
        st.lists(st.text(min_size=1).filter(str.strip), min_size=count, max_size=count, unique=True)
    )
    masks = draw(
        st.lists(greys | colors, min_size=count, max_size=3 * count, unique_by=lambda v: tuple(v))
    )
    return [{"name": name, "mask": masks[i::count]} for i, name in enumerate(names)]


@given(tables())
def test_materials_survive_their_json(entries):
    materials = Materials.from_json(entries)
    assert Materials.from_json(materials.to_json()) == materials


def test_what_is_drawn_or_left_out_survives_json_and_toml(read):
    text = """
    ignore = [255, 254]
    [[material]]
    name = "vein"
    drawn_as = "vein *"
    [[material]]
    name = "air"
    drawn_as = ["pore", 3]
    mask = 0
    """
    materials = read(text)
    assert materials.ignore == ((255,), (254,))
    assert [(m.mask, m.drawn_as) for m in materials] == [((), ("vein *",)), (((0,),), ("pore", 3))]
    assert Materials.from_json(materials.to_json(), [[255], [254]]) == materials
    assert read(materials.to_toml()) == materials


def test_labels_without_names_get_numbers():
    materials = Materials.numbered([3, 9])
    assert materials.names == ("label 3", "label 9")
    assert materials.labels == (3, 9)
