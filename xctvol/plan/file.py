"""Products that are a single file: whole or absent, with the recipe inside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xctvol.errors import PlanError
from xctvol.files import remove_tree
from xctvol.journal import Recipe
from xctvol.plan.plan import read_recipe

__all__ = ["FileProduct"]


@dataclass(frozen=True)
class FileProduct:
    """A file as the product of a plan. It is put in place when it is finished.

    `recipe_in` finds the recipe in such a file, as JSON, or None where the file is another one;
    `what` it is, as messages say it.
    """

    path: Path
    what: str
    recipe_in: Callable[[Path], Mapping[str, object] | None]

    @property
    def work(self) -> Path:
        return self.path.with_name(f".{self.path.name}.work")

    def made_by(self) -> Recipe | None:
        if not self.path.exists():
            return None
        recipe = self.recipe_in(self.path) if self.path.is_file() else None
        if recipe is None:
            raise PlanError(
                f"{self.path} exists and is no {self.what} of xctvol, which will not touch it; "
                "choose another name"
            )
        return read_recipe(self.path, recipe)

    def open(self) -> Path:
        return self.path

    def remove(self) -> None:
        remove_tree(self.path)
