"""Learning rates over a training, and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from bench.core.recipes import Recipe
from bench.train.schedule import Schedule

RISE_FROM = 5.0
"""A one-cycle rate begins at its highest divided by this."""
FALL_TO = 1e4
"""… and ends at its first divided by this."""


def scheduler_of(optimizer: Optimizer, recipe: Recipe, schedule: Schedule) -> LRScheduler:
    """The recipe's rates: of one cycle by the step, else by the epoch."""
    if recipe.one_cycle is None:
        return MultiStepLR(optimizer, list(schedule.milestones), gamma=0.1)
    return OneCycleLR(
        optimizer,
        max_lr=recipe.learning_rate,
        total_steps=schedule.epochs * steps_of(schedule.images_per_epoch, recipe.batch_size),
        pct_start=recipe.one_cycle,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=RISE_FROM,
        final_div_factor=FALL_TO,
    )


def steps_of(images: int, batch_size: int) -> int:
    """Steps of an epoch. A single image that is left over makes none: batch norm refuses it."""
    whole, rest = divmod(images, batch_size)
    return whole + (rest > 1 or images == 1)


def stops(recipe: Recipe, schedule: Schedule, history: Mapping[str, Sequence[float]]) -> bool:
    """Whether the loss on held-out images has not fallen for as many epochs as the recipe has patience.

    They are counted from the last milestone on: a rate that is too high to get on is what a lower one follows.
    """
    losses = history.get("validation_loss", ())
    if recipe.patience is None or not losses:
        return False
    lowest = min(range(len(losses)), key=lambda epoch: losses[epoch] if math.isfinite(losses[epoch]) else math.inf)
    return len(losses) - max(lowest + 1, *schedule.milestones, 0) >= recipe.patience
