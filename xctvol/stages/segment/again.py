"""Labels made once more, as they were made: what shards that are damaged have to hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xctvol.errors import InputError
from xctvol.grid import Block
from xctvol.labels import Labels
from xctvol.model.file import Model
from xctvol.stages.segment.slab import SegmentSlab
from xctvol.stages.segment.stage import segment
from xctvol.stages.segment.where import Where
from xctvol.volume import open_volume

__all__ = ["SegmentAgain", "segment_again"]


@dataclass(frozen=True)
class SegmentAgain:
    """Writes slabs of labels again, below another folder and with images of probabilities.

    `peak_memory` is what a block holds, in bytes.
    """

    task: SegmentSlab
    peak_memory: int

    def __call__(self, block: Block, folder: Path) -> None:
        task, details = self.task, self.task.probabilities
        if details is not None:
            details = replace(details, folder=folder / details.folder.name)
        image = replace(task.image, path=folder)
        replace(task, image=image, probabilities=details, comparison=None)(block)


def segment_again(labels: Labels, models: Sequence[Model], device: str = "auto") -> SegmentAgain:
    """What writes slabs of `labels` again, from their scan and the models they were made with.

    Raises InputError where the labels were not made by `segment`, or not of this scan with these
    models.
    """
    path, recipe = labels.volume.path, labels.volume.recipe
    if recipe is None or recipe.verb != "segment":
        raise InputError(f"{path} was not made by xctvol segment, so models cannot make it again")
    scan, options = open_volume(path.parent.parent), recipe.options
    try:
        plan = segment(
            scan,
            models,
            labels=str(options["labels"]),
            device=device,
            precision=options["precision"],
            where=Where.from_json(options["where"], scan.path),
            decode=options["decode"],
            probabilities=bool(options["probabilities"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the record of how {path} was made is damaged: {error!r}") from error
    others = recipe.differences(plan.recipe)
    if others:
        raise InputError(
            f"{path} was made with other {', '.join(others)} than these; name the very models, "
            "in the same order"
        )
    (stage,) = plan.stages
    assert isinstance(stage.task, SegmentSlab)
    return SegmentAgain(stage.task, plan.peak_memory)
