"""One model file as the product of a plan."""

from dataclasses import dataclass
from pathlib import Path

from xctvol.errors import InputError, PlanError
from xctvol.files import remove_tree
from xctvol.journal import Recipe
from xctvol.model.file import Model, load_weights, open_model, read_card, read_recipe, save_model

__all__ = ["ModelProduct", "recipe_of"]


@dataclass(frozen=True)
class ModelProduct:
    """The model at `path`; it waits as `draft` until its recipe is written into it."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path.with_name(f".{self.path.name}.xctvol")

    @property
    def draft(self) -> Path:
        return self.work / "model.safetensors"

    def made_by(self) -> Recipe | None:
        return recipe_of(self.path) if self.path.exists() else None

    def publish(self, recipe: Recipe) -> None:
        save_model(self.path, read_card(self.draft), load_weights(self.draft), recipe)

    def open(self) -> Model:
        return open_model(self.path)

    def remove(self) -> None:
        remove_tree(self.path)


def recipe_of(file: Path) -> Recipe:
    """How a model file was made; raises PlanError where this package did not make it."""
    try:
        recipe = read_recipe(file)
    except InputError:
        recipe = None
    if recipe is None:
        raise PlanError(
            f"{file} exists and was not made by xctvol, which will not touch it; choose another "
            "name"
        )
    return recipe
