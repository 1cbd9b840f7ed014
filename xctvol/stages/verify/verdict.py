"""What came of verifying a product."""

from dataclasses import dataclass

from xctvol.journal import Recipe
from xctvol.locations import Location
from xctvol.volume import Window

__all__ = ["Verdict", "VerdictProduct"]


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a volume or with tables, in lines for people; nothing if it is whole.

    `shards` were read, of all levels and of the labels inside, and `files` of tables. `bad` names
    the shards that are damaged, with the slices that they hold, or the files, and why; `repaired`
    those that were and are not any more; `remedies` say what to do. `other_slices` names slices of
    the source that are not those that were converted. `compared` counts slices that were compared
    with the source, through the `window` that the volume was stored with.
    """

    path: Location
    shards: int
    files: int
    bad: tuple[str, ...]
    repaired: tuple[str, ...]
    remedies: tuple[str, ...]
    other_slices: tuple[str, ...] = ()
    compared: int = 0
    slices: int = 0
    window: Window | None = None

    @property
    def good(self) -> bool:
        return not self.bad and not self.other_slices

    @property
    def replaces_source(self) -> bool:
        """Whether every voxel of the source was compared with the volume, and found in it."""
        return self.good and 0 < self.compared == self.slices


@dataclass
class VerdictProduct:
    """A verdict as the product of a plan: it is for whoever asked, and nothing of it stays.

    Work stands beside the shards, for workers on other machines to find it.
    """

    work: Location
    verdict: Verdict | None = None

    @property
    def path(self) -> Location:
        return self.work

    def made_by(self) -> Recipe | None:
        return None

    def open(self) -> Verdict:
        assert self.verdict is not None, "a plan concludes before it opens its product"
        return self.verdict

    def remove(self) -> None:
        """There is nothing besides the work."""
