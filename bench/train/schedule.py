"""How long a training is: the recipe's own length, or a number of images cut into epochs. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.errors import InputError
from bench.core.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """``epochs`` of ``images_per_epoch`` images; the learning rate falls before the epochs in ``milestones``."""

    epochs: int
    images_per_epoch: int
    milestones: tuple[int, ...] = ()


def schedule(recipe: Recipe, train_images: int, budget_images: int | None, epoch_images: int | None) -> Schedule:
    """The schedule of ``recipe`` on a training set of ``train_images``.

    Args:
        budget_images: images seen in all; None is the recipe's epochs over the whole training set.
        epoch_images: at most this many images an epoch of a budget; None is the whole training set.

    Raises:
        InputError: there is nothing to train on, or a limit is below 1.
    """
    for name, value in (("training set", train_images), ("budget", budget_images), ("epoch", epoch_images)):
        if value is not None and value < 1:
            raise InputError(f"a {name} of {value} images trains nothing: 1 or more is allowed")
    if budget_images is None:
        return Schedule(epochs=recipe.epochs, images_per_epoch=train_images, milestones=recipe.milestones)
    longest = min(train_images, epoch_images or train_images)
    epochs = _ceil_div(budget_images, longest)
    return Schedule(
        epochs=epochs,
        images_per_epoch=budget_images // epochs,
        milestones=_scaled(recipe, epochs),
    )


def _scaled(recipe: Recipe, epochs: int) -> tuple[int, ...]:
    """Milestones at the same share of the training, rounded up: the first epoch always has the recipe's own rate."""
    scaled = (_ceil_div(milestone * epochs, recipe.epochs) for milestone in recipe.milestones)
    return tuple(milestone for milestone in scaled if milestone < epochs)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
