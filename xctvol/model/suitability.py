"""Does a model know this scan? Its card against what the volume says of itself."""

import numpy as np

from xctvol.errors import InputError
from xctvol.grid import Box
from xctvol.model.agreement import sample_slices
from xctvol.model.card import IDENTITY, Affine, Card
from xctvol.volume import Histogram, Volume

__all__ = ["doubts", "doubts_of_probabilities", "stored_grey"]

_SPACING = 1.1  # times larger or smaller
_OUTSIDE = 0.05  # share of voxels; the window of training leaves out 0.002
_SHIFT = 0.5  # of the mean, in standard deviations: slices of one scan differ by less
_SPREAD = 1.5  # times larger or smaller standard deviation
_COUNTED = 3  # slices, where the volume does not know its histogram


def stored_grey(volume: Volume, card: Card) -> Affine:
    """How stored values of `volume` become the grey values that the model was trained on.

    The model knows either the scan's original values, or the stored ones of a volume like this.
    Raises InputError where it knows neither.
    """
    trained_on = np.dtype(card.grey.dtype)
    if trained_on == volume.source_dtype:
        if volume.window is None:
            return IDENTITY
        low, high = volume.window.low, volume.window.high
        return Affine((high - low) / 255, low)
    if trained_on == volume.dtype:
        return IDENTITY
    raise InputError(
        f"the model was trained on slices of {trained_on}, but {volume.path} holds "
        f"{volume.dtype} made from {volume.source_dtype}: there is no way to compare their grey "
        "values; train on slices of this scan, or convert the scan those slices came from"
    )


def doubts(volume: Volume, card: Card) -> tuple[str, ...]:
    """What speaks against using a model on a volume, one sentence each; none is as it should be.

    Reads a few slices where the volume does not hold its histogram. Raises InputError where grey
    values cannot even be compared.
    """
    return (*_of_spacing(volume, card), *_of_greys(volume, card))


def doubts_of_probabilities(card: Card) -> tuple[str, ...]:
    """What speaks against its probabilities, one sentence each."""
    if card.training is None or card.training.options.get("loss") != "balanced":
        return ()
    return (
        "it learned with more weight for rare materials, so that their probabilities are too "
        "large: train with --loss cross-entropy or bce where that matters",
    )


def _of_spacing(volume: Volume, card: Card) -> list[str]:
    if card.spacing_um is None:
        return []
    ratios = [a / b for a, b in zip(volume.spacing.zyx, card.spacing_um, strict=True)]
    if all(_alike(ratio, _SPACING) for ratio in ratios):
        return []
    trained = " x ".join(f"{s:g}" for s in card.spacing_um)
    return [
        f"the model was trained on voxels of {trained} um (z, y, x), this scan has "
        f"{volume.spacing}: expect wrong labels"
    ]


def _of_greys(volume: Volume, card: Card) -> list[str]:
    histogram = _histogram(volume)
    factor, summand = card.grey.stored(stored_grey(volume, card))
    present = np.flatnonzero(histogram.counts)
    greys, shares = histogram.values()[present] * factor + summand, histogram.counts[present]
    if not len(present):
        return []
    found = []
    outside = float(np.average((greys < 0) | (greys > 1), weights=shares))
    if outside > _OUTSIDE:
        found.append(
            f"{100 * outside:.1f} % of the voxels lie outside the grey values {card.grey.window} "
            "that the model was trained on, and look all the same to it: expect wrong labels"
        )
    if card.training is not None:  # else mean and std may be those of other images
        found += _of_statistics(np.clip(greys, 0, 1), shares, card)
    return found


def _of_statistics(greys: np.ndarray, shares: np.ndarray, card: Card) -> list[str]:
    mean = float(np.average(greys, weights=shares))
    std = float(np.sqrt(np.average(np.square(greys - mean), weights=shares)))
    shift = (mean - card.grey.mean) / card.grey.std
    if abs(shift) <= _SHIFT and _alike(std / card.grey.std, _SPREAD):
        return []
    return [
        f"this scan is {'brighter' if shift > 0 else 'darker'} than the training slices by "
        f"{abs(shift):.2f} of their standard deviations, with {std / card.grey.std:.2f} times "
        "their contrast: expect wrong labels"
    ]


def _histogram(volume: Volume) -> Histogram:
    if volume.histogram is not None and volume.dtype == np.uint8:
        return Histogram(volume.dtype, np.array(volume.histogram, np.int64))
    depth, height, width = volume.shape
    slices = [
        volume.read(Box((z, 0, 0), (z + 1, height, width))) for z in sample_slices(depth, _COUNTED)
    ]
    return Histogram.of(np.concatenate(slices))


def _alike(ratio: float, factor: float) -> bool:
    return 1 / factor <= ratio <= factor
