"""Whoever looks at a product which another run begins or finishes sees that, and nothing else."""

import json
import sys
import threading

import pytest

from xctvol.errors import PlanError
from xctvol.files import write_json
from xctvol.journal import Recipe
from xctvol.materials import Materials
from xctvol.model.card import Card, GreyScale
from xctvol.model.file import save_model
from xctvol.model.networks import build
from xctvol.stages.evaluate.product import ScoresProduct
from xctvol.stages.train.product import ModelFiles
from xctvol.volume.volume import ImageProduct
from xctvol.volume.window import Window

RECIPE = Recipe("test", {}, {})
TIMES = 300


@pytest.fixture
def impatient():
    """Threads take turns after a few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def folder(path):
    """A product, and what finishes it."""
    product = ScoresProduct(path)
    return product, lambda: write_json(product.mark, {"recipe": RECIPE.to_json()})


def image(path):
    metadata = {"attributes": {"ome": {}, "xctvol": {"recipe": RECIPE.to_json()}}}
    return ImageProduct(path, open), lambda: write_json(path / "zarr.json", metadata)


@pytest.fixture
def models(tmp_path):
    card = Card("unet", Materials.numbered([1, 2]), GreyScale("uint8", Window(0, 1), 0, 1))
    draft = tmp_path / "draft.safetensors"
    save_model(draft, card, build("unet", 2).body.state_dict(), RECIPE)

    def models(path):
        product = ModelFiles(path.with_suffix(".safetensors"), replicates=2)
        return product, lambda: [file.hardlink_to(draft) for file in product.files]

    return models


@pytest.mark.parametrize("make", [folder, image])
def test_begun_it_is_never_taken_for_somebody_elses(tmp_path, impatient, make):
    for number in range(TIMES):
        product, _ = make(tmp_path / f"product-{number}")

        def begin(product=product):
            (product.work / "done").mkdir(parents=True)
            (product.path / "half").touch()

        thread = threading.Thread(target=begin)
        thread.start()
        while thread.is_alive():
            assert product.made_by() is None
        thread.join()
        assert product.made_by() is None


@pytest.mark.parametrize("make", [folder, image])
def test_what_no_run_began_is_somebody_elses(tmp_path, make):
    product, _ = make(tmp_path / "product")
    product.path.mkdir()
    assert product.made_by() is None
    (product.path / "half").touch()
    with pytest.raises(PlanError, match="choose another"):
        product.made_by()


@pytest.mark.parametrize("kind", ["folder", "image", "models"])
def test_finished_it_is_never_taken_for_somebody_elses(tmp_path, impatient, request, kind):
    make = {"folder": folder, "image": image}.get(kind) or request.getfixturevalue(kind)
    for number in range(TIMES):
        product, finish = make(tmp_path / f"product-{number}")
        product.work.mkdir(parents=True)

        def conclude(product=product, finish=finish):
            finish()
            product.work.rmdir()

        thread = threading.Thread(target=conclude)
        thread.start()
        while (recipe := product.made_by()) is None:
            pass
        assert json.dumps(recipe.to_json()) == json.dumps(RECIPE.to_json())
        thread.join()
