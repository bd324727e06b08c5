"""What a network is fed: the recipe's augmentation and normalisation, on one data set."""

from __future__ import annotations

from bench.core.errors import InputError
from bench.core.recipes import Recipe
from bench.data.augmentation import HALF, USUAL, Augmentation, Normalization
from bench.data.images import ImageDataset


def normalization(given: str, dataset: ImageDataset) -> Normalization | None:
    """Channel means and standard deviations, in units where white is 1; None where pixels stay as they are.

    Args:
        given: ``none``, ``usual`` (CIFAR-10's), ``half``, ``computed`` (from the training images), or the six numbers:
            ``0.5,0.5,0.5/0.25,0.25,0.25``.

    Raises:
        InputError: ``given`` is neither such a name nor such numbers.
    """
    constants = {"none": None, "usual": USUAL, "half": HALF, "computed": (dataset.mean, dataset.std)}
    return constants[given] if given in constants else _numbers(given)


def _numbers(given: str) -> Normalization:
    try:
        mean, std = ([float(number) for number in half.split(",")] for half in given.split("/"))
        (red, green, blue), (red_std, green_std, blue_std) = mean, std
    except ValueError:
        raise InputError(
            f"normalisation '{given}' is unknown: give none, usual, half, computed, or three means, a slash and three "
            "standard deviations"
        ) from None
    return (red, green, blue), (red_std, green_std, blue_std)


def training_augmentation(recipe: Recipe, dataset: ImageDataset) -> Augmentation:
    """What the recipe does to training images. A data set whose images have a right way round is never flipped."""
    return Augmentation(
        crop_padding=recipe.crop_padding,
        flip=recipe.flip and dataset.flip,
        alternate=recipe.alternate_flip,
        normalize=normalization(recipe.normalize, dataset),
    )


def noted_test_augmentation(recipe: Recipe, dataset: ImageDataset) -> Augmentation:
    """What the note does to test images, which is a fault of it."""
    return Augmentation(
        crop_padding=recipe.faults.crop_padding,
        flip=recipe.faults.flip and dataset.flip,
        normalize=normalization(recipe.normalize, dataset),
    )
