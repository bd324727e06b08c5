"""One training: its schedule, its feed of batches, its inputs and its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional  # noqa: F401  # inherited by the loader's workers: else each imports it in each epoch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.core.other_work import usable_cores
from bench.core.recipes import Recipe
from bench.core.turns import Taken
from bench.data.augmentation import training_augmentation
from bench.data.images import ImageDataset
from bench.data.known import hold_out
from bench.data.pipelines import ImageTensors, loader_for_epoch
from bench.train.checkpoint import Identity
from bench.train.step import Settings, Step

Indices = NDArray[np.int64]
Batches = Iterable[tuple[Tensor, Tensor]]
"""Images (N, 3, H, W) float32 and labels (N,) int64; on the device, or on their way to it."""
Feed = Callable[[Indices, int], Batches]
"""Function from the images of an epoch and its number, counted from 0, to its batches, which are made lazily."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Length of a training. The learning rate falls before the epochs in ``milestones``."""

    epochs: int
    images_per_epoch: int
    milestones: tuple[int, ...] = ()


def schedule(recipe: Recipe, train_images: int, budget_images: int | None, epoch_images: int | None) -> Schedule:
    """Return the schedule of ``recipe`` on a training set of ``train_images``.

    Args:
        budget_images: images of all epochs together; None is the recipe's epochs over the whole training set.
        epoch_images: limit of images an epoch of a budget; None is the whole training set.

    Raises:
        InputError: the training set is empty, or a limit is below 1.
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
    """Scale milestones to ``epochs``, rounded up: the first epoch always has the recipe's own rate."""
    scaled = (_ceil_div(milestone * epochs, recipe.epochs) for milestone in recipe.milestones)
    return tuple(milestone for milestone in scaled if milestone < epochs)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def feed_of(
    dataset: ImageDataset, recipe: Recipe, settings: Settings, *, image_size: int, device: torch.device, seed: int
) -> Feed:
    """Return the feed of augmented training images, shuffled anew in each epoch; the same for both pipelines."""
    augmentation = training_augmentation(recipe, dataset)
    if settings.pipeline == "tensor":
        tensors = ImageTensors(dataset.train, device)

        def from_tensors(indices: Indices, epoch: int) -> Batches:
            return tensors.epoch(
                indices,
                augmentation=augmentation,
                image_size=image_size,
                batch_size=recipe.batch_size,
                shuffle=True,
                seed=seed,
                epoch=epoch,
                memory_format=settings.memory_format,
            )

        return from_tensors

    def from_loader(indices: Indices, epoch: int) -> Batches:
        loader = loader_for_epoch(
            dataset.train,
            indices,
            augmentation=augmentation,
            image_size=image_size,
            batch_size=recipe.batch_size,
            workers=workers_of(recipe, settings),
            shuffle=True,
            seed=seed,
            epoch=epoch,
        )
        for images, labels in loader:
            yield images.to(device, memory_format=settings.memory_format), labels.to(device)

    return from_loader


def workers_of(recipe: Recipe, settings: Settings) -> int:
    """Number of loader workers: the setting, else the recipe's, at most one a core. It changes no image."""
    if settings.workers is not None:
        return settings.workers
    return min(recipe.workers, usable_cores())


def _nothing() -> None:
    """Do nothing: the device is not watched."""


def _untracked(epoch: int, values: Mapping[str, float]) -> None:
    """Do nothing: no curves are drawn."""


def unjudged(network: nn.Module) -> Mapping[str, float]:
    """Return no figures: the network is judged at the end alone."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Training:
    """Inputs of one training. The network is initialised and on its device."""

    name: str
    """Name in lines of progress."""
    network: nn.Module
    recipe: Recipe
    settings: Settings = field(default_factory=Settings)
    schedule: Schedule
    dataset: ImageDataset
    image_size: int
    device: torch.device
    seed: int
    checkpoint: Path
    """Path of the last epoch's checkpoint while the training runs; the chosen epoch's weights are in its folder."""
    identity: Identity
    progress: Callable[[str], None]
    watch: Callable[[], None] = _nothing
    """Function called in each epoch while the device works."""
    judge: Callable[[nn.Module], Mapping[str, float]] = unjudged
    """Function called after each epoch, outside its seconds, with the network; its figures are added to the history."""
    in_turns: Callable[[Callable[[], Taken]], None] | None = None
    """Function that calls its argument, which trains the next epoch, when the turn of this worker comes, to the end.
    Nothing is saved between epochs then. None trains them in one stretch."""
    track: Callable[[int, Mapping[str, float]], None] = _untracked
    """Function called after each epoch, outside its seconds, with its number, counted from 1, and its figures."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Result of a training. The network has the last epoch's weights, or their running mean where the recipe has one.

    ``history`` has one number an epoch: ``seconds`` (training alone), ``train_loss`` and ``train_accuracy`` (means over
    the epoch's augmented images), ``last_batch_loss``, and ``validation_loss`` and ``validation_accuracy`` where images
    are held out. Epochs are counted from 1.
    """

    history: Mapping[str, list[float]]
    resumed_after: int
    step: Step
    """Network and optimiser after the last step, for the pass that measures memory."""
    feed: Feed
    compile_seconds: float | None
    """Seconds of compiling before the first epoch; None if nothing is compiled."""
    chosen: Mapping[str, Any] | None
    """Chosen epoch: ``epoch``, ``model_state_dict``, ``validation_accuracy``; None if the recipe takes the last."""


def split_indices(recipe: Recipe, dataset: ImageDataset) -> tuple[Indices, Indices]:
    """Return the images to train on and the held-out ones that choose an epoch (none if the recipe takes the last)."""
    count = dataset.held_out if recipe.select == "validation" else 0
    return hold_out(dataset.train.labels, count)


def epoch_indices(indices: Indices, images: int, seed: int, epoch: int) -> Indices:
    """Return the images of one epoch, which may be shorter than a pass.

    Epochs take the images of one shuffled pass after another: each image is seen once before any is seen twice.
    """
    if images == len(indices):
        return indices
    passes, places = np.divmod(np.arange(epoch * images, (epoch + 1) * images), len(indices))
    shuffled = {number: np.random.default_rng([seed, int(number)]).permutation(indices) for number in set(passes)}
    return np.concatenate([shuffled[number][places[passes == number]] for number in np.unique(passes)])


def stops(recipe: Recipe, schedule: Schedule, history: Mapping[str, Sequence[float]]) -> bool:
    """Return True if the loss on held-out images has not fallen for the recipe's patience, in epochs.

    The count begins at the last milestone: a loss that does not fall may fall again at a lower rate.
    """
    losses = history.get("validation_loss", ())
    if recipe.patience is None or not losses:
        return False
    lowest = min(range(len(losses)), key=lambda epoch: losses[epoch] if math.isfinite(losses[epoch]) else math.inf)
    return len(losses) - max(lowest + 1, *schedule.milestones, 0) >= recipe.patience
