"""The tasks of verify: one slab of an image, read again at all levels, and mended where asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xctvol.errors import InputError
from xctvol.grid import Block, Box
from xctvol.labels import LabelRule
from xctvol.sources import Source
from xctvol.sources.slabs import files_of, read_slab
from xctvol.stages.verify.again import Again
from xctvol.volume import (
    Checksums,
    Halve,
    Image,
    Shard,
    ShardedArray,
    Window,
    halved_in_threads,
    in_threads,
    reused,
    shard_checksum,
)

__all__ = ["AsLabels", "AsWindow", "Original", "RepairSlab", "VerifySlab", "renewed"]

Keys = Mapping[str, str]


class Stored(Protocol):
    """Turns voxels of a source into those that are stored."""

    def __call__(self, slab: NDArray[Any], /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class AsWindow:
    """Grey values as a volume stores them: as they are, or through its window."""

    window: Window | None

    def __call__(self, slab: NDArray[Any]) -> NDArray[Any]:
        return slab if self.window is None else self.window.stored(slab)


@dataclass(frozen=True)
class AsLabels:
    """Values of a label stack as a rule translates them."""

    rule: LabelRule

    def __call__(self, slab: NDArray[Any]) -> NDArray[Any]:
        labels = reused("stored", slab.shape, self.rule.dtype)

        def translate(z: int) -> None:
            labels[z] = self.rule(slab[z])

        in_threads(translate, range(len(slab)))
        return labels


@dataclass(frozen=True)
class Original:
    """The source that an image was made from, and how."""

    source: Source
    stored: Stored

    def read(self, box: Box, recorded: tuple[str, ...]) -> tuple[NDArray[Any], list[str]]:
        """The voxels that should be stored, and the slices that are not those converted then."""
        z0, z1 = box.start[0], box.stop[0]
        slab, now = read_slab(self.source, z0, z1)
        other = [z for z, crc in enumerate(now, start=z0) if recorded and recorded[z] != crc]
        return self.stored(slab), [self._name(z) for z in other]

    def _name(self, z: int) -> str:
        files = files_of(self.source, z, z + 1)
        return f"slice {z}" + (f" in {files[0]}" if files else "")


@dataclass(frozen=True)
class Findings:
    """What is wrong with one slab.

    `bad` says why, by the name of the shard. `truth` is what level 0 should hold, where that is
    known: from the source, or from the slab itself where all of its shards are good.
    """

    shards: int
    bad: Mapping[str, str]
    other_slices: list[str]
    truth: NDArray[Any] | None
    from_source: bool

    def to_json(self) -> dict[str, Any]:
        compared = len(self.truth) if self.truth is not None and self.from_source else 0
        return {
            "shards": self.shards,
            "bad": [[name, why] for name, why in self.bad.items()],
            "other_slices": self.other_slices,
            "compared": compared,
        }


@dataclass(frozen=True)
class VerifySlab:
    """Reads every shard of a slab again, at all levels, and compares what can be compared.

    File checksums with those recorded; voxels with the original's, where there is one; coarser
    levels with what level 0, or the original, becomes when it is halved.
    """

    image: Image
    halve: Halve
    original: Original | None = None

    def __call__(self, block: Block) -> Any:
        return self.examine(block, self.recorded()).to_json()

    def recorded(self) -> Checksums | None:
        return Checksums.read([level.path for level in self.image.levels])

    def examine(self, block: Block, recorded: Checksums | None) -> Findings:
        truth, other = self._original(block.write, recorded)
        from_source = truth is not None
        base, bad, shards = truth, {}, 0
        for number, level in enumerate(self.image.levels):
            if number and truth is not None:
                truth = halved_in_threads(truth, self.halve)
            part = _Part.of(level, number, block.write)
            faults = part.read(recorded.shards[number] if recorded else None)
            if truth is not None:
                what = "the source" if from_source else "level 0, halved"
                faults = {**part.differing(truth, what), **faults}
            elif number == 0 and not faults:
                truth = base = part.voxels
            bad.update({f"{number}/{key}": why for key, why in faults.items()})
            shards += len(part.shards)
        return Findings(shards, bad, other, base, from_source)

    def _original(
        self, box: Box, recorded: Checksums | None
    ) -> tuple[NDArray[Any] | None, list[str]]:
        """What the source says, unless it is not the source that was converted any more."""
        if self.original is None:
            return None, []
        truth, other = self.original.read(box, recorded.slices if recorded else ())
        return (None if other else truth), other


@dataclass(frozen=True)
class RepairSlab:
    """Verifies a slab; where shards are bad and what they should hold is known, writes them anew.

    From the source, the slab at all levels; without one, the coarser levels from a good level 0.
    Before that, from what made the shards, where it is there to make them again.
    """

    check: VerifySlab
    again: Again | None = None

    def __call__(self, block: Block) -> Any:
        recorded = self.check.recorded()
        before = found = self.check.examine(block, recorded)
        if found.bad and self.again is not None and recorded is not None:
            self.again.restore(self.check.image.path, block, found.bad, recorded)
            found = self.check.examine(block, recorded)
        written: dict[int, Keys] = {}
        if found.bad and found.truth is not None:
            written = self._written(block, found, found.truth)
            if recorded is not None:
                recorded = renewed(self.check.image, block, recorded, written)
            found = self.check.examine(block, recorded)
        repaired = [name for name in before.bad if name not in found.bad]
        pairs = [[number, keys] for number, keys in written.items()]
        return {**found.to_json(), "repaired": repaired, "written": pairs}

    def _written(self, block: Block, found: Findings, truth: NDArray[Any]) -> dict[int, Keys]:
        """Checksums of the shards that were written, at each level that was."""
        image, z0 = self.check.image, block.write.start[0]
        slabs, first = image.halvings(truth, self.check.halve), 0 if found.from_source else 1
        return dict(enumerate(image.write_levels(z0, slabs[first:], first), start=first))


def renewed(
    image: Image, block: Block, recorded: Checksums, written: Mapping[int, Keys]
) -> Checksums:
    """The checksums after the shards of a slab have been written again, at some levels."""
    for number, keys in written.items():
        part = _Part.of(image.levels[number], number, block.write)
        recorded = recorded.replaced(number, [shard.key for shard in part.shards], keys)
    return recorded


@dataclass(frozen=True)
class _Part:
    """What a slab is at one level: its shards, and its voxels once they are read."""

    level: ShardedArray
    box: Box
    shards: list[Shard]
    voxels: NDArray[Any]

    @classmethod
    def of(cls, level: ShardedArray, number: int, slab: Box) -> "_Part":
        z0 = slab.start[0] >> number
        box = Box((z0, 0, 0), (min(z0 + level.shard[0], level.shape[0]), *level.shape[1:]))
        voxels = reused(f"level {number}", box.shape, level.dtype)
        return cls(level, box, level.shards(box), voxels)

    def read(self, recorded: Keys | None) -> dict[str, str]:
        """Fill `voxels`; returns what is wrong with the shards that are damaged, by key."""

        def fault(shard: Shard) -> str | None:
            if recorded is not None:
                why = _checksum_fault(shard, recorded)
                if why is not None:
                    return why
            try:
                self.level.read_shard(shard, self.voxels[shard.part.within(self.box)])
            except InputError as error:
                return str(error).partition(" is ")[2]
            return None

        return self._named(in_threads(fault, self.shards))

    def differing(self, truth: NDArray[Any], what: str) -> dict[str, str]:
        """The shards whose voxels are not bit for bit those of `truth`, by key."""

        def difference(shard: Shard) -> str | None:
            place = shard.part.within(self.box)
            ours, others = _bits(self.voxels[place]), _bits(truth[place])
            count = sum(int(np.count_nonzero(a != b)) for a, b in zip(ours, others, strict=True))
            return f"differs in {count} voxels from {what}" if count else None

        return self._named(in_threads(difference, self.shards))

    def _named(self, faults: list[str | None]) -> dict[str, str]:
        pairs = zip(self.shards, faults, strict=True)
        return {shard.key: why for shard, why in pairs if why is not None}


def _checksum_fault(shard: Shard, recorded: Keys) -> str | None:
    now, then = shard_checksum(shard.path), recorded.get(shard.key)
    if now == then:
        return None
    if now is None:
        return "is missing"
    return "has other bytes than were written" if then else "was not there when this was written"


def _bits(voxels: NDArray[Any]) -> NDArray[Any]:
    """As whole numbers: NaN equals itself, and -0.0 is not 0.0."""
    return voxels.view(f"u{voxels.dtype.itemsize}")
