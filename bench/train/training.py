"""What one training needs and what it gives, and which images its epochs see."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional  # noqa: F401  # the loader's workers inherit it: each would import it, each epoch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.core.recipes import Recipe
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
"""From the images of an epoch and its number, counted from 0, to its batches; all work is done as they are taken."""


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


def feed_of(
    dataset: ImageDataset, recipe: Recipe, settings: Settings, *, image_size: int, device: torch.device, seed: int
) -> Feed:
    """Augmented training images of ``dataset``, shuffled anew in each epoch; the same from either pipeline."""
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
    """Loader workers: those asked for, else the recipe's, but no more than there are cores. They change no image."""
    if settings.workers is not None:
        return settings.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(recipe.workers, cores)


def _nothing() -> None:
    """Nobody watches the device."""


def _untracked(epoch: int, values: Mapping[str, float]) -> None:
    """Nobody draws the curves."""


def unjudged(network: nn.Module) -> Mapping[str, float]:
    """Nobody asks how good the network is before the end."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that one training needs. The network comes initialised, on its device."""

    name: str
    """For the lines of progress."""
    network: nn.Module
    recipe: Recipe
    settings: Settings = field(default_factory=Settings)
    schedule: Schedule
    dataset: ImageDataset
    image_size: int
    device: torch.device
    seed: int
    checkpoint: Path
    """Where the last epoch's checkpoint lies while the training is under way, the chosen epoch's weights beside it."""
    identity: Identity
    progress: Callable[[str], None]
    watch: Callable[[], None] = _nothing
    """Called in each epoch while the device works."""
    judge: Callable[[nn.Module], Mapping[str, float]] = unjudged
    """Called after each epoch, outside its seconds, with the weights that would count; its answer joins the history."""
    track: Callable[[int, Mapping[str, float]], None] = _untracked
    """Called after each epoch, outside its seconds, with its number, counted from 1, and what joins the history."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave. The network holds the last epoch's weights, or their running mean where the recipe has one.

    ``history`` has one number an epoch: ``seconds`` (training alone), ``train_loss`` and ``train_accuracy`` (means over
    the epoch's images as they were trained on), ``last_batch_loss``, and ``validation_loss`` and
    ``validation_accuracy`` where images are held out. Epochs are counted from 1.
    """

    history: Mapping[str, list[float]]
    resumed_after: int
    step: Step
    """The last step's network and optimiser, as the training leaves them: for a pass that watches memory."""
    feed: Feed
    compile_seconds: float | None
    """Of compiling, before the first epoch; None where nothing is compiled."""
    chosen: Mapping[str, Any] | None
    """``epoch``, ``model_state_dict`` and ``validation_accuracy`` of the epoch chosen; None where the last counts."""


def split_indices(recipe: Recipe, dataset: ImageDataset) -> tuple[Indices, Indices]:
    """Images of the training split to train on, and those to choose an epoch by (none where the last counts)."""
    count = dataset.held_out if recipe.select == "validation" else 0
    return hold_out(dataset.train.labels, count)


def epoch_indices(indices: Indices, images: int, seed: int, epoch: int) -> Indices:
    """The images of one epoch, where an epoch is shorter than a pass.

    Epochs walk through one shuffled pass after another, so that no image is seen twice before all were seen once.
    """
    if images == len(indices):
        return indices
    passes, places = np.divmod(np.arange(epoch * images, (epoch + 1) * images), len(indices))
    shuffled = {number: np.random.default_rng([seed, int(number)]).permutation(indices) for number in set(passes)}
    return np.concatenate([shuffled[number][places[passes == number]] for number in np.unique(passes)])


def stops(recipe: Recipe, schedule: Schedule, history: Mapping[str, Sequence[float]]) -> bool:
    """Whether the loss on held-out images has not fallen for as many epochs as the recipe has patience.

    They are counted from the last milestone on: a rate that is too high to get on is what a lower one follows.
    """
    losses = history.get("validation_loss", ())
    if recipe.patience is None or not losses:
        return False
    lowest = min(range(len(losses)), key=lambda epoch: losses[epoch] if math.isfinite(losses[epoch]) else math.inf)
    return len(losses) - max(lowest + 1, *schedule.milestones, 0) >= recipe.patience
