"""What a newer version of this package wrote is refused in one line that names both versions."""

import json
from importlib.metadata import version

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from xctvol.cli import app
from xctvol.errors import InputError
from xctvol.execution.slurm import RunFolder
from xctvol.formats import FORMATS, refuse_newer, stamp
from xctvol.journal import Recipe
from xctvol.labels import open_labels
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import open_model, save_model
from xctvol.model.networks import build
from xctvol.sources import open_source
from xctvol.stages.convert import convert, convert_labels
from xctvol.stages.evaluate.product import ScoresProduct, open_scores
from xctvol.stages.export.slices import SlicesFolder
from xctvol.stages.verify import verify
from xctvol.studies.product import StudyProduct, open_study
from xctvol.tables import TablesProduct, open_tables
from xctvol.units import Spacing
from xctvol.volume import Window, open_volume


def newer(file, *keys):
    """Let `file` say that a later version wrote it; the stamp is at `keys` of its JSON."""
    document = json.loads(file.read_text())
    place = document
    for key in keys:
        place = place[key]
    place.update({"format": 7, "written_by": "xctvol 3.1.4"})
    file.write_text(json.dumps(document))


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 8, 9), np.uint8))
    return open_source(tmp_path / "a.npy", spacing=Spacing(1.0, 1.0, 1.0))


def volume(path, source):
    convert(source, path / "a.zarr").run()
    newer(path / "a.zarr/zarr.json", "attributes", "xctvol")
    return lambda: open_volume(path / "a.zarr")


def labels(path, source):
    convert_labels(source, path / "a.zarr").run()
    newer(path / "a.zarr/zarr.json", "attributes", "xctvol")
    return lambda: open_labels(path / "a.zarr")


def journal(path, source):
    convert(source, path / "a.zarr").part(1, 2).run()
    plan = convert(source, path / "b.zarr")
    (path / "b.zarr/.xctvol").mkdir(parents=True)
    recipe = path / "b.zarr/.xctvol/recipe.json"
    recipe.write_text(json.dumps({"journal": stamp("journal"), **plan.recipe.to_json()}))
    newer(recipe, "journal")
    return plan.run


def model(path, _):
    materials = Materials.numbered((1, 2))
    card = Card("unet", materials, GreyScale("uint8", Window(0.0, 255.0), 0.4, 0.2))
    save_model(path / "m.safetensors", card, build("unet", 2).body.state_dict())
    about = {"card": {**card.to_json(), "format": 7, "written_by": "xctvol 3.1.4"}, "recipe": None}
    weights = load_file(path / "m.safetensors")
    save_file(weights, path / "m.safetensors", {"xctvol": json.dumps(about)})
    return lambda: open_model(path / "m.safetensors")


def folder_of(product, opened):
    product.path.mkdir()
    product.finish({}, Recipe(product.verb, {}, {}))
    newer(product.mark)
    with pytest.raises(InputError, match=r"xctvol 3\.1\.4"):
        product.made_by()
    with pytest.raises(InputError, match=r"xctvol 3\.1\.4"):
        verify(product.path)
    return lambda: opened(product.path)


def measurements(path, _):
    return folder_of(TablesProduct(path / "m"), open_tables)


def scores(path, _):
    return folder_of(ScoresProduct(path / "s"), open_scores)


def study(path, _):
    return folder_of(StudyProduct(path / "s"), open_study)


def slices(path, _):
    def opened(place):
        return SlicesFolder(place, ()).record()

    return folder_of(SlicesFolder(path / "s", ()), opened)


def run(path, _):
    record = {**stamp("run"), "command": "xctvol", "profile": {}, "jobs": []}
    (path / "run.json").write_text(json.dumps(record))
    assert RunFolder.open(path).jobs == []
    newer(path / "run.json")
    return lambda: RunFolder.open(path)


KINDS = [volume, labels, journal, model, measurements, scores, study, slices, run]


@pytest.mark.parametrize("kind", KINDS)
def test_newer_products_are_refused_in_one_line(tmp_path, source, kind):
    use = kind(tmp_path, source)
    with pytest.raises(InputError) as refused:
        use()
    message = str(refused.value)
    assert "was written by xctvol 3.1.4 in format 7" in message
    assert f"xctvol {version('xctvol')} knows format 1: update xctvol" in message
    assert str(tmp_path) in message
    assert "\n" not in message


def test_every_kind_is_tested():
    assert {kind.__name__ for kind in KINDS} - {"labels"} == set(FORMATS)


def test_the_command_line_refuses_them_as_bad_input(tmp_path, source):
    volume(tmp_path, source)
    for verb in ("info", "verify", "measure"):
        found = CliRunner().invoke(app, [verb, str(tmp_path / "a.zarr")])
        assert found.exit_code == InputError.exit_code
        (line,) = found.stderr.strip().splitlines()
        assert "update xctvol" in line


@pytest.mark.parametrize("found", ["1", 1.0, 0, -3, True, [], {"a": 1}, "x" * 10_000])
def test_what_is_no_format_is_damage(found):
    with pytest.raises(InputError, match="a is damaged: its format") as refused:
        refuse_newer("volume", "a", {"format": found})
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("record", [None, [], {}, {"format": None}, {"format": 1}])
def test_what_is_not_newer_passes(record):
    refuse_newer("volume", "a", record)


def test_who_wrote_it_is_not_believed_to_be_harmless():
    with pytest.raises(InputError, match="written by a newer version of xctvol in format 9"):
        refuse_newer("volume", "a", {"format": 9, "written_by": "xctvol\n\x1b[2J" + "x" * 999})


def test_weights_of_other_programs_bear_no_stamp(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="no card"):
        open_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize("named", ["", "..", "a/..", "/", "."])
def test_a_record_that_names_another_folder_has_nothing_deleted_there(tmp_path, named):
    product = TablesProduct(tmp_path / "tables")
    product.path.mkdir()
    product.finish({"instances": named}, Recipe("measure", {}, {}))
    (tmp_path / "mine.txt").write_text("mine")
    (product.path / "mine.txt").write_text("mine")
    product.remove()
    assert sorted(tmp_path.rglob("*.txt")) == [tmp_path / "mine.txt", product.path / "mine.txt"]
