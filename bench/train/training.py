"""What one training needs and what it gives, and which images its epochs see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.core.recipes import Recipe
from bench.data.images import ImageDataset
from bench.data.splits import hold_out
from bench.train.checkpoint import Identity
from bench.train.feeds import Feed, Indices
from bench.train.schedule import Schedule
from bench.train.settings import Settings
from bench.train.step import Step


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
