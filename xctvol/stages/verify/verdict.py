"""What came of verifying a volume."""

from dataclasses import dataclass
from pathlib import Path

from xctvol.files import remove_tree
from xctvol.journal import Recipe
from xctvol.volume import Window

__all__ = ["Verdict", "VerdictProduct"]


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a volume, in lines for people; nothing where it is whole.

    `shards` were read, of all levels and of the labels inside. `bad` names the shards that are
    damaged and why, `repaired` those that were and are not any more. `other_slices` names slices
    of the source that are not those that were converted. `compared` counts slices that were
    compared with the source, through the `window` that the volume was stored with.
    """

    path: Path
    shards: int
    bad: tuple[str, ...]
    repaired: tuple[str, ...]
    other_slices: tuple[str, ...]
    compared: int
    slices: int
    window: Window | None

    @property
    def good(self) -> bool:
        return not self.bad and not self.other_slices

    @property
    def replaces_source(self) -> bool:
        """Whether every voxel of the source was compared with the volume, and found in it."""
        return self.good and self.compared == self.slices


@dataclass
class VerdictProduct:
    """A verdict as the product of a plan: it is for whoever asked, and nothing of it stays.

    Work stands beside the shards, for workers on other machines to find it.
    """

    work: Path
    verdict: Verdict | None = None

    @property
    def path(self) -> Path:
        return self.work

    def made_by(self) -> Recipe | None:
        return None

    def open(self) -> Verdict:
        assert self.verdict is not None, "a plan concludes before it opens its product"
        return self.verdict

    def remove(self) -> None:
        remove_tree(self.work)
