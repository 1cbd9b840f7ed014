"""Hostile model files: cards, headers of safetensors, shapes that no memory holds."""

import json
import struct

import pytest
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from xctvol.errors import InputError
from xctvol.journal import Recipe
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale, Losses, Training
from xctvol.model.file import load_weights, open_model, read_card, read_recipe, save_model
from xctvol.model.networks import build, outline
from xctvol.volume.window import Window

EFFORT = pytest.mark.parametrize("examples", [15, pytest.param(120, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "m.safetensors"
    losses = (Losses(0.5, 0.6),)
    training = Training({}, 0, ("a",), ("b",), losses, 1, {"running": 0.9}, "running", {})
    grey = GreyScale("uint16", Window(100.0, 5000.5), 0.3, 0.1)
    card = Card("unet", Materials.numbered((1, 2)), grey, spacing_um=(2, 1, 1), training=training)
    weights = build("unet", 2).body.state_dict()
    save_model(path, card, weights, Recipe("train", {"pairs": []}, {"seed": 0}))
    return path


@EFFORT
def test_cards(model, documents, harmless, examples):
    """What is read is a card that can be written again, and whose values are of their kinds."""
    good = read_card(model)
    weights = load_file(model)
    about = {"card": good.to_json(), "recipe": read_recipe(model).to_json()}
    path = model.with_name("other.safetensors")

    def use(document):
        save_file(weights, path, {"xctvol": json.dumps(document)})
        read_recipe(path)
        card = open_model(path).card
        assert Card.from_json(json.loads(json.dumps(card.to_json(), allow_nan=False))) == card

    outline("lraspp_mobilenet_v3_large", 2)  # loads libraries, which take more memory than any card
    harmless(documents(about), use, examples)


@EFFORT
def test_headers(model, documents, contents, harmless, examples):
    """Any header, of any claimed length, before the same weights."""
    whole = model.read_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    header = json.loads(whole[8 : 8 + length])
    few = dict(list(header.items())[:3])
    path = model.with_name("other.safetensors")
    lengths = st.sampled_from([None, None, 0, 1, 2**20, 2**25, 2**40, 2**63, 2**64 - 1])

    def content(header, claimed):
        text = json.dumps(header).encode()
        size = len(text) if claimed is None else claimed
        return struct.pack("<Q", size) + text + whole[8 + length :]

    def use(content):
        path.write_bytes(content)
        for read in (open_model, load_weights):
            read(path)

    damaged = st.builds(content, st.one_of(documents(few), st.just(header)), lengths)
    harmless(st.one_of(damaged, contents(whole, 8 + length)), use, examples)


@pytest.mark.parametrize(
    "claimed", [2**24 + 1, 2**32, 2**63, 2**64 - 1], ids=["16 MB", "4 GB", "int64", "uint64"]
)
def test_absurd_headers_are_refused_unread(tmp_path, claimed):
    path = tmp_path / "m.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", claimed))
        file.truncate(2**26)  # a file that is as large as that is no reason to parse it
    for read in (open_model, load_weights, read_card):
        with pytest.raises(InputError, match=f"claims a header of {claimed} bytes"):
            read(path)


def test_absurd_shapes_are_refused_before_any_memory_is_asked_for(model, tmp_path):
    path = tmp_path / "m.safetensors"
    for shape, size in (([2**40, 2**20], 4), ([2**62, 4, 4], 0), ([-1, 4], 4)):
        header = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
        for read in (open_model, load_weights):
            with pytest.raises(InputError):
                read(path)
