"""Augmentation of images on their way into a batch, and its random draws of one epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.errors import InputError
from bench.core.recipes import Recipe
from bench.data.images import ImageDataset, Triple

Normalization = tuple[Triple, Triple]
"""Channel means and channel standard deviations, in units where white is 1."""

CIFAR10_MEAN: Triple = (0.4914, 0.4822, 0.4465)
CIFAR10_STD: Triple = (0.247, 0.243, 0.261)
USUAL: Normalization = (CIFAR10_MEAN, CIFAR10_STD)
"""Constants by which notes 1 and 2 normalise CIFAR-10."""
HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Constants of note 4: pixels from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Steps from an image to its place in a batch, in the notes' order: resize, crop, flip, normalise.

    ``crop_padding`` black pixels are put on each side and a crop of the image size is taken at random; ``None`` does
    not crop. ``flip`` mirrors left and right with probability one half. Without ``normalize`` pixels are in [0, 1].
    """

    crop_padding: int | None = None
    flip: bool = False
    alternate: bool = False
    """Flips drawn once an image, which is then mirrored in every other epoch (K. Jordan, *94 % on CIFAR-10 in 3.29
    Seconds on a Single GPU*, 2024)."""
    normalize: Normalization | None = None


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Random draws of one epoch over n images. Row i belongs to the i-th of the epoch's images before shuffling.

    ``order`` int64 (n,): rows in the order of the epoch. ``corners`` int64 (n, 2): top and left of a crop. ``flips``
    bool (n,).
    """

    order: Tensor
    corners: Tensor
    flips: Tensor


def draw(
    indices: NDArray[np.int64], augmentation: Augmentation, *, shuffle: bool, seed: int, epoch: int
) -> tuple[Draws, torch.Generator]:
    """Draw one epoch over the images ``indices``; return the draws and the generator as they leave it.

    The draws depend on ``seed`` and ``epoch`` alone, and neither read nor move torch's global generator. So an
    interrupted training resumes at any epoch with the same images, and every pipeline sees the same ones.
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


def normalization(choice: str, dataset: ImageDataset) -> Normalization | None:
    """Return channel means and standard deviations, in units where white is 1; None where pixels stay as they are.

    Args:
        choice: ``none``, ``usual`` (CIFAR-10's), ``half``, ``computed`` (from the training images), or the six numbers:
            ``0.5,0.5,0.5/0.25,0.25,0.25``.

    Raises:
        InputError: ``choice`` is neither such a name nor such numbers.
    """
    constants = {"none": None, "usual": USUAL, "half": HALF, "computed": (dataset.mean, dataset.std)}
    return constants[choice] if choice in constants else _numbers(choice)


def _numbers(choice: str) -> Normalization:
    try:
        mean, std = ([float(number) for number in half.split(",")] for half in choice.split("/"))
        (red, green, blue), (red_std, green_std, blue_std) = mean, std
    except ValueError:
        raise InputError(
            f"normalisation '{choice}' is unknown: give none, usual, half, computed, or numbers as in "
            "0.5,0.5,0.5/0.25,0.25,0.25 (means/standard deviations)"
        ) from None
    return (red, green, blue), (red_std, green_std, blue_std)


def training_augmentation(recipe: Recipe, dataset: ImageDataset) -> Augmentation:
    """Return the recipe's augmentation of training images; without its flip where mirroring changes the class."""
    return Augmentation(
        crop_padding=recipe.crop_padding,
        flip=recipe.flip and dataset.flip,
        alternate=recipe.alternate_flip,
        normalize=normalization(recipe.normalize, dataset),
    )


def noted_test_augmentation(recipe: Recipe, dataset: ImageDataset) -> Augmentation:
    """Return the augmentation that the note applies to test images: one of its faults."""
    return Augmentation(
        crop_padding=recipe.faults.crop_padding,
        flip=recipe.faults.flip and dataset.flip,
        normalize=normalization(recipe.normalize, dataset),
    )
