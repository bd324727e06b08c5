from __future__ import annotations

from dataclasses import replace

import pytest

from bench.core.errors import InputError
from bench.core.recipes import RECIPES, TestFaults
from bench.data.augmentation import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    normalization,
    noted_test_augmentation,
    training_augmentation,
)
from bench.data.images import ImageDataset


def test_inputs_follow_recipe_and_data_set(digits: ImageDataset) -> None:
    recipe = replace(RECIPES["note2_resnet_custom"], faults=TestFaults(flip=True, crop_padding=3))
    pictures = replace(digits, flip=True)
    training, noted = training_augmentation(recipe, pictures), noted_test_augmentation(recipe, pictures)
    assert (training.crop_padding, training.flip, training.normalize) == (1, True, (CIFAR10_MEAN, CIFAR10_STD))
    assert (noted.crop_padding, noted.flip, noted.normalize) == (3, True, (CIFAR10_MEAN, CIFAR10_STD))
    assert not training_augmentation(recipe, digits).flip
    assert not noted_test_augmentation(recipe, digits).flip


def test_normalisation_by_name_or_by_numbers(digits: ImageDataset) -> None:
    assert normalization("none", digits) is None
    assert normalization("half", digits) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalization("usual", digits) == ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
    assert normalization("computed", digits) == (digits.mean, digits.std)
    assert normalization("1,2,3/4,5,6", digits) == ((1, 2, 3), (4, 5, 6))
    for wrong in ("imagenet", "1,2/3,4", "1,2,3", "a,b,c/1,2,3"):
        with pytest.raises(InputError, match="give none, usual, half, computed, or numbers as in"):
            normalization(wrong, digits)
