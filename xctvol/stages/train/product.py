"""The product of a training: one model file, or a numbered one for each replicate."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xctvol.errors import PlanError
from xctvol.files import remove_tree
from xctvol.journal import Recipe
from xctvol.model.file import Model, load_weights, open_model, read_card, save_model
from xctvol.model.product import recipe_of
from xctvol.stages.train.log import draw_log, read_log, write_log

__all__ = ["ModelFiles"]


@dataclass(frozen=True)
class ModelFiles:
    """The files leaf.safetensors, or leaf-01.safetensors, leaf-02.safetensors and so on.

    Beside each lies its log. Each is complete by itself; the product is finished when the last one
    is in place.
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

    def draft_log(self, replicate: int) -> Path:
        """All epochs of a replicate that has ended."""
        return self.draft(replicate).with_name("epochs.csv")

    def log(self, file: Path) -> tuple[Path, Path]:
        """Beside a model, its epochs as a table and as a picture."""
        return file.with_suffix(".epochs.csv"), file.with_suffix(".epochs.png")

    def made_by(self) -> Recipe | None:
        at_work = (
            self.work.exists()
        )  # first: a run that ends leaves all files, then takes this away
        recipes = [recipe_of(file) for file in self.files if file.exists()]
        others = [recipe for recipe in recipes if recipe.digest != recipes[0].digest]
        if others or len(recipes) == len(self.files):
            return (others or recipes)[-1]
        if not recipes or at_work:
            return None
        raise PlanError(
            f"some but not all of {self.files[0]} to {self.files[-1].name} exist; move them away, "
            "or choose another name"
        )

    def publish(self, recipe: Recipe) -> None:
        """Put the drafts into place with their logs, each with the recipe of how it was made."""
        for replicate, file in enumerate(self.files):
            draft = self.draft(replicate)
            card, epochs = read_card(draft), read_log(self.draft_log(replicate))
            assert card.training is not None, "every draft is of a training"
            with self._placed(*self.log(file), file) as (table, picture, model):
                write_log(table, epochs)
                draw_log(picture, epochs, card.training.best_epoch)
                save_model(model, card, load_weights(draft), recipe)

    @contextmanager
    def _placed(self, *files: Path) -> Iterator[tuple[Path, ...]]:
        """Give a path for each of `files`, to be moved there in the end.

        What a killed run leaves unfinished then lies in `work`, and nothing beside the models.
        """
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            drafts = tuple(Path(folder) / file.name for file in files)
            yield drafts
            for draft, file in zip(drafts, files, strict=True):
                draft.replace(file)

    def open(self) -> tuple[Model, ...]:
        return tuple(open_model(file) for file in self.files)

    def remove(self) -> None:
        for file in self.files:
            for path in (file, *self.log(file)):
                remove_tree(path)
