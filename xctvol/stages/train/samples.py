"""Training samples: views of annotated slices, flipped and turned at random.

As in the reference: horizontal flip, vertical flip, and rotation by up to 50 degrees with
reflected borders, each with probability 0.4. A view is cut from the whole slice, so the corners
of a turned crop show what is there and only the slice's own borders are reflected. On request
brightness and contrast vary as well.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xctvol.pairs import IGNORE
from xctvol.stages.train.settings import Settings

__all__ = ["Sample", "View", "cut", "epoch_batches"]

_PROBABILITY = 0.4
_MAX_DEGREES = 50.0
_ATTEMPTS = 100


@dataclass(frozen=True)
class Sample:
    """A slice as the network sees it, float32 (y, x), and its annotation, uint8 (y, x)."""

    image: Tensor
    indices: Tensor

    @property
    def size(self) -> tuple[int, int]:
        y, x = self.image.shape
        return (y, x)

    def pixels(self, materials: int) -> Tensor:
        """How many are annotated as each of so many materials: int64 (materials,)."""
        return torch.bincount(self.indices.ravel(), minlength=IGNORE + 1)[:materials]

    def to(self, device: torch.device) -> "Sample":
        return Sample(self.image.to(device), self.indices.to(device))


@dataclass(frozen=True)
class View:
    """A rectangle of `size` (y, x) from `corner`, turned about its centre, then flipped."""

    corner: tuple[int, int]
    size: tuple[int, int]
    degrees: float = 0.0
    flips: tuple[int, ...] = ()

    @classmethod
    def draw(cls, of: tuple[int, int], crop: int | None, rng: np.random.Generator) -> "View":
        """A random view of a slice of size `of`: a square of `crop` pixels, or the whole."""
        size = of if crop is None else (crop, crop)
        corner = (_start(of[0], size[0], rng), _start(of[1], size[1], rng))
        flips = tuple(axis for axis in (0, 1) if rng.random() < _PROBABILITY)
        turned = rng.random() < _PROBABILITY
        return cls(corner, size, turned * rng.uniform(-_MAX_DEGREES, _MAX_DEGREES), flips)


def cut(sample: Sample, view: View) -> Sample:
    """The part of `sample` that `view` shows; what lies outside the slice is its reflection."""
    inside = all(
        start >= 0 and start + size <= whole
        for start, size, whole in zip(view.corner, view.size, sample.size, strict=True)
    )
    if inside and view.degrees == 0:
        window = tuple(slice(c, c + s) for c, s in zip(view.corner, view.size, strict=True))
        part = Sample(sample.image[window], sample.indices[window])
    else:
        grid = _grid(view, sample.size).to(sample.image.device)
        part = Sample(
            _sampled(sample.image, grid, "bilinear"),
            _sampled(sample.indices.float(), grid, "nearest").to(torch.uint8),
        )
    return Sample(part.image.flip(view.flips), part.indices.flip(view.flips))


def epoch_batches(
    samples: Sequence[Sample], settings: Settings, rng: np.random.Generator, device: torch.device
) -> Iterator[Sample]:
    """The batches (n, y, x) of one epoch, cut on `device`; `rng` alone decides what is in them."""
    crop, batch, jitter = settings.crop, settings.batch, settings.jitter
    if crop is None:
        for index in rng.permutation(len(samples)):
            whole = samples[index].to(device)
            part = cut(whole, View.draw(whole.size, None, rng))
            yield _stack([_shaded(part, jitter, rng)])
        return
    areas = np.array([math.prod(sample.size) for sample in samples], np.float64)
    for _ in range(settings.batches([sample.size for sample in samples])):
        chosen = rng.choice(len(samples), size=batch, p=areas / areas.sum())
        parts = [_annotated_crop(samples[i].to(device), crop, rng) for i in chosen]
        yield _stack([_shaded(part, jitter, rng) for part in parts])


def _shaded(part: Sample, jitter: float, rng: np.random.Generator) -> Sample:
    """Other contrast (a factor about 1) and brightness (a summand about 0), by up to `jitter`.

    Grey values are normalized, so that both are in standard deviations of the training images.
    """
    if jitter == 0 or rng.random() >= _PROBABILITY:
        return part
    contrast, brightness = rng.uniform(-jitter, jitter, 2)
    return Sample(part.image * (1 + contrast) + brightness, part.indices)


def _annotated_crop(sample: Sample, crop: int, rng: np.random.Generator) -> Sample:
    """A random crop with annotation in it: sparse marks would leave many without anything to learn.

    Gives up after some attempts, as turned views may miss a lonely mark each time.
    """
    for _ in range(_ATTEMPTS):
        part = cut(sample, View.draw(sample.size, crop, rng))
        if (part.indices != IGNORE).any():
            break
    return part


def _start(whole: int, part: int, rng: np.random.Generator) -> int:
    return int(rng.integers(0, whole - part + 1)) if part <= whole else (whole - part) // 2


def _grid(view: View, whole: tuple[int, int]) -> Tensor:
    """Where each pixel of the view comes from, as grid_sample wants it: (1, y, x, 2), x first."""
    rows, columns = (torch.arange(size) - (size - 1) / 2 for size in view.size)
    cos, sin = math.cos(math.radians(view.degrees)), math.sin(math.radians(view.degrees))
    y = rows[:, None] * cos + columns[None, :] * sin + view.corner[0] + (view.size[0] - 1) / 2
    x = columns[None, :] * cos - rows[:, None] * sin + view.corner[1] + (view.size[1] - 1) / 2
    return torch.stack(((2 * x + 1) / whole[1] - 1, (2 * y + 1) / whole[0] - 1), -1)[None]


def _sampled(plane: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(
        plane[None, None], grid, mode=mode, padding_mode="reflection", align_corners=False
    )[0, 0]


def _stack(samples: list[Sample]) -> Sample:
    return Sample(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.indices for sample in samples]),
    )
