"""The baseline: a random forest that labels each pixel by its features, as ImageJ users train one.

It learns from pixels drawn at random from annotated slices, at most `_PIXELS` a material, each
counting as much as the pixels that it stands for. What is drawn, and every tree, follows from
fixed seeds, so that the labels are the same in any process and with any number of threads.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from xctvol.files import staged
from xctvol.grid import Block
from xctvol.pairs import Pairs
from xctvol.resources import thread_budget
from xctvol.stages.evaluate.features import FEATURES, feature_bands, feature_bytes

__all__ = ["PixelForest", "SamplePixels", "draw", "forest_bytes", "sample_bytes"]

_PIXELS = 20_000
_TREES = 100
_LEAF_PIXELS = 5
_SEED = 0
_NODE_BYTES = 64  # and a number a material


@dataclass(frozen=True)
class SamplePixels:
    """Draws pixels of one annotated slice and keeps their features; a block is a slice."""

    pairs: Pairs
    folder: Path

    def __call__(self, block: Block) -> list[int]:
        """Pixels drawn of each material."""
        count = len(self.pairs.materials)
        annotated = self.pairs[block.index].read(self.pairs.materials)
        rng = np.random.default_rng([_SEED, block.index])
        most = max(1, _PIXELS // len(self.pairs))
        places, weights = draw(annotated.indices, count, most, rng)
        materials = annotated.indices.ravel()[places]
        features = _features_at(annotated.image, places)
        with staged(_sample(self.folder, block.index)) as partial, open(partial, "wb") as file:
            np.savez(file, features=features, materials=materials, weights=weights)
        drawn: list[int] = np.bincount(materials, minlength=count).tolist()
        return drawn


@dataclass(frozen=True)
class PixelForest:
    """The forest of the samples of `slices` slices in `folder`, of a plan's recipe `digest`.

    It travels as these, and each process grows it once.
    """

    folder: Path
    slices: int
    digest: str

    def indices(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Index of each pixel's most probable material, (y, x)."""
        forest = _grown(self)
        found = np.empty(image.shape, np.uint8)
        with ThreadPoolExecutor(thread_budget()) as pool:
            for rows, features in feature_bands(image):
                shares = np.array_split(features, min(thread_budget(), len(features)))
                labels = np.concatenate(list(pool.map(forest.predict, shares)))
                found[rows] = labels.reshape(-1, image.shape[1])
        return found


def draw(
    indices: NDArray[np.uint8], materials: int, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places, in a flattened annotation, of at most `most` pixels of each material, in order.

    Also returns for how many pixels of its material each of them stands. Annotations >= `materials`
    are left out.
    """
    places, weights = [], []
    for index in range(materials):
        there = np.flatnonzero(indices == index)
        taken = rng.choice(there, min(most, there.size), replace=False)
        places.append(taken)
        weights.append(np.full(taken.size, there.size / max(1, taken.size), np.float32))
    order = np.argsort(np.concatenate(places))
    return np.concatenate(places)[order], np.concatenate(weights)[order]


def sample_bytes(materials: int) -> int:
    """Bytes of all samples together, at most."""
    return _PIXELS * materials * (4 * FEATURES + 5)


def forest_bytes(materials: int, size: tuple[int, int]) -> int:
    """Bytes that growing a forest and labelling an image of `size` (y, x) hold at most."""
    nodes = _TREES * 2 * _PIXELS * materials // _LEAF_PIXELS
    trees = nodes * (_NODE_BYTES + 8 * materials)
    return 2 * sample_bytes(materials) + trees + feature_bytes(size)


def _features_at(image: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features of some pixels, whose places in the flattened image are in order."""
    found = np.empty((places.size, FEATURES), np.float32)
    for rows, features in feature_bands(image):
        first = rows.start * image.shape[1]
        part = slice(*np.searchsorted(places, [first, first + len(features)]))
        found[part] = features[places[part] - first]
    return found


@lru_cache(maxsize=1)
def _grown(forest: PixelForest) -> RandomForestClassifier:
    samples = [_read(_sample(forest.folder, index)) for index in range(forest.slices)]
    features, materials, weights = map(np.concatenate, zip(*samples, strict=True))
    grown = RandomForestClassifier(
        _TREES, min_samples_leaf=_LEAF_PIXELS, random_state=_SEED, n_jobs=thread_budget()
    )
    grown.fit(features, materials, weights)
    # with several, votes would be summed in the order in which threads end
    return grown.set_params(n_jobs=1)


def _read(sample: Path) -> tuple[NDArray[Any], ...]:
    with np.load(sample) as arrays:
        return arrays["features"], arrays["materials"], arrays["weights"]


def _sample(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.npz"
