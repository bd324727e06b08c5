"""What happens to an image on its way into a batch, and what an epoch draws for it at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.images import Triple

Normalization = tuple[Triple, Triple]
"""Channel means and channel standard deviations, in units where white is 1."""

CIFAR10_MEAN: Triple = (0.4914, 0.4822, 0.4465)
CIFAR10_STD: Triple = (0.247, 0.243, 0.261)
USUAL: Normalization = (CIFAR10_MEAN, CIFAR10_STD)
"""The constants that notes 1 and 2 normalise CIFAR-10 by."""
HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""The constants of note 4: pixels from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to an image on its way into a batch, in the notes' order: resize, crop, flip, normalise.

    ``crop_padding`` black pixels are put on each side and a crop of the image size is taken at random; ``None`` does
    not crop. ``flip`` mirrors left and right with probability one half. Without ``normalize`` pixels are in [0, 1].
    """

    crop_padding: int | None = None
    flip: bool = False
    alternate: bool = False
    """The flip is drawn once for each image, which is then mirrored in every other epoch (K. Jordan, *94 % on CIFAR-10
    in 3.29 Seconds on a Single GPU*, 2024)."""
    normalize: Normalization | None = None


@dataclass(frozen=True, kw_only=True)
class Draws:
    """All that is random in one epoch over n images. Row i is the i-th of the epoch's images before shuffling.

    ``order`` int64 (n,): which row comes when. ``corners`` int64 (n, 2): top and left of a crop. ``flips`` bool (n,).
    """

    order: Tensor
    corners: Tensor
    flips: Tensor


def draw(
    indices: NDArray[np.int64], augmentation: Augmentation, *, shuffle: bool, seed: int, epoch: int
) -> tuple[Draws, torch.Generator]:
    """The draws of one epoch over the images ``indices``, and the generator that they leave behind.

    They depend on ``seed`` and ``epoch`` alone, and neither read nor move torch's global generator: so a training that
    was interrupted resumes at any epoch as if it had not been, and every pipeline sees the same images.
    """
    generator, count = _generator(seed, epoch), len(indices)
    order = torch.randperm(count, generator=generator) if shuffle else torch.arange(count)
    places = 2 * (augmentation.crop_padding or 0) + 1
    corners = torch.randint(places, (count, 2), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    if augmentation.alternate:
        flips = _alternating(indices, seed, epoch)
    return Draws(order=order, corners=corners, flips=flips), generator


def _alternating(indices: NDArray[np.int64], seed: int, epoch: int) -> Tensor:
    first = torch.rand(int(indices.max()) + 1, generator=_generator(seed, 0)) < 0.5
    return first[torch.from_numpy(indices)] ^ bool(epoch % 2)


def _generator(seed: int, epoch: int) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))
