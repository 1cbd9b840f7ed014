"""The product of a training: one model file, or a numbered one for each replicate."""

from dataclasses import dataclass
from pathlib import Path

from xctvol.errors import InputError, PlanError
from xctvol.files import remove_tree
from xctvol.journal import Recipe
from xctvol.model.file import Model, load_weights, open_model, read_card, read_recipe, save_model

__all__ = ["ModelFiles"]


@dataclass(frozen=True)
class ModelFiles:
    """The files leaf.safetensors, or leaf-01.safetensors, leaf-02.safetensors and so on.

    Each is complete by itself; the product is finished when the last one is in place.
    """

    path: Path
    replicates: int

    @property
    def files(self) -> tuple[Path, ...]:
        if self.replicates == 1:
            return (self.path,)
        digits = max(2, len(str(self.replicates)))
        return tuple(
            self.path.with_stem(f"{self.path.stem}-{number:0{digits}}")
            for number in range(1, self.replicates + 1)
        )

    @property
    def work(self) -> Path:
        return self.path.with_name(f".{self.path.name}.xctvol")

    def draft(self, replicate: int) -> Path:
        """Where the model of a replicate waits for the others."""
        return self.work / f"replicate-{replicate}" / "model.safetensors"

    def made_by(self) -> Recipe | None:
        recipes = [_made_by(file) for file in self.files if file.exists()]
        others = [recipe for recipe in recipes if recipe.digest != recipes[0].digest]
        if others or len(recipes) == len(self.files):
            return (others or recipes)[-1]
        if not recipes or self.work.exists():
            return None
        raise PlanError(
            f"some but not all of {self.files[0]} to {self.files[-1].name} exist; move them away, "
            "or choose another name"
        )

    def publish(self, recipe: Recipe) -> None:
        """Put the drafts into place, each with the recipe that says how it was made."""
        for replicate, file in enumerate(self.files):
            draft = self.draft(replicate)
            save_model(file, read_card(draft), load_weights(draft), recipe)

    def open(self) -> tuple[Model, ...]:
        return tuple(open_model(file) for file in self.files)

    def remove(self) -> None:
        for file in (*self.files, self.work):
            remove_tree(file)


def _made_by(file: Path) -> Recipe:
    try:
        recipe = read_recipe(file)
    except InputError:
        recipe = None
    if recipe is None:
        raise PlanError(
            f"{file} exists and was not made by xctvol train, which will not touch it; choose "
            "another name"
        )
    return recipe
