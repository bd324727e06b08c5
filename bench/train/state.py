"""State of a running training: its parts, running mean and learning rates; saving and resuming."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

from bench.core.errors import InputError
from bench.core.recipes import Recipe
from bench.measure.clock import synchronize
from bench.train import checkpoint as checkpoints
from bench.train.checkpoint import Checkpoint, best_path, fit
from bench.train.step import Step, first_passes, lay_out, optimizer_of, optimizer_over
from bench.train.training import Feed, Schedule, Training, feed_of

RISE_FROM = 5.0
"""Highest rate of a one-cycle schedule divided by its first."""
FALL_TO = 1e4
"""First rate of a one-cycle schedule divided by its last."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Parts of a running training that change from step to step."""

    feed: Feed
    step: Step
    scheduler: LRScheduler
    averaged: RunningMean | None
    network: nn.Module

    @property
    def counting(self) -> nn.Module:
        """Network with the weights that would be the result if the training ended now."""
        return self.averaged.network if self.averaged else self.network

    def after_step(self, recipe: Recipe) -> None:
        if recipe.one_cycle is not None:
            self.scheduler.step()
        if self.averaged:
            self.averaged.update()


def begin(training: Training) -> Run:
    recipe, settings, device = training.recipe, training.settings, training.device
    network = lay_out(training.network, settings)
    optimizer = optimizer_of(network, recipe, settings)
    step = Step(
        name=training.name,
        network=torch.compile(network, dynamic=False) if settings.compiled else network,  # type: ignore[arg-type]
        optimizer=optimizer,
        recipe=recipe,
        settings=settings,
        device=device,
        classes=len(training.dataset.classes),
    )
    return Run(
        feed=feed_of(
            training.dataset, recipe, settings, image_size=training.image_size, device=device, seed=training.seed
        ),
        step=step,
        scheduler=scheduler_of(optimizer, recipe, training.schedule),
        averaged=None if recipe.averaging is None else RunningMean(network, recipe.averaging),
        network=network,
    )


def compile_steps(training: Training, run: Run) -> float | None:
    """Run first passes with whole batches and with the last one of an epoch, outside of every epoch's seconds.

    Returns the seconds of compiling; None where nothing is compiled.
    """
    compiled = training.settings.compiled
    if compiled:
        training.progress(f"{training.name}: compiling")
    images, size = training.schedule.images_per_epoch, training.recipe.batch_size
    sizes = {min(size, images), images % size} - {0, 1}
    seconds = first_passes(run.step, training.image_size, sorted(sizes, reverse=True))
    return seconds if compiled else None


def warm_up(training: Training, run: Run) -> None:
    """Run the updates of a step twice on copies of the weights, so that no epoch includes first uses of kernels."""
    copies = [
        parameter.detach().clone().requires_grad_() for parameter in run.network.parameters() if parameter.requires_grad
    ]
    optimizer = optimizer_over(copies, training.recipe, training.settings)
    for _ in range(2):  # the first step creates the optimiser's state, later ones update it
        for parameter in copies:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    if run.averaged:
        run.averaged.warm_up()
    synchronize(training.device)


def save(training: Training, run: Run, epoch: int, history: Mapping[str, list[float]]) -> None:
    checkpoints.save(
        training.checkpoint,
        Checkpoint(
            epoch=epoch + 1,
            model_state_dict=training.network.state_dict(),
            averaged_state_dict=run.averaged.network.state_dict() if run.averaged else {},
            optimizer_state_dict=run.step.optimizer.state_dict(),
            scheduler_state_dict=run.scheduler.state_dict(),
            loss=history["last_batch_loss"][-1],
            history=history,
            identity=training.identity,
        ),
    )


def resume(training: Training, run: Run) -> tuple[int, dict[str, list[float]]]:
    """Load the checkpoint, if there is one, into ``run``; return the number of epochs done and their history."""
    if not training.checkpoint.exists():
        return 0, {}
    stored = checkpoints.load(training.checkpoint, training.identity)
    fit(training.network, stored.model_state_dict, str(training.checkpoint))
    if run.averaged:
        run.averaged.go_on_from(stored.averaged_state_dict)
    run.step.optimizer.load_state_dict(dict(stored.optimizer_state_dict))
    run.scheduler.load_state_dict(dict(stored.scheduler_state_dict))
    training.progress(f"{training.name}: resuming after epoch {stored.epoch} of {training.schedule.epochs}")
    return stored.epoch, {name: list(values) for name, values in stored.history.items()}


def keep_best(
    training: Training, run: Run, epoch: int, results: Mapping[str, float], best: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Write the weights if they are the best so far; of equally good ones the earlier stay.

    The file is written before the epoch's checkpoint and states its own epoch and accuracy, so a kill between the two
    leaves it correct.
    """
    if best is not None and results["validation_accuracy"] <= best["validation_accuracy"]:
        return best
    content = {
        "epoch": epoch + 1,
        "model_state_dict": run.counting.state_dict(),
        "loss": results["last_batch_loss"],
        "validation_accuracy": results["validation_accuracy"],
        "identity": dict(training.identity),
    }
    checkpoints.write(best_path(training.checkpoint), content)
    return {name: value for name, value in content.items() if name != "model_state_dict"}


def best_of(training: Training) -> Mapping[str, Any]:
    path = best_path(training.checkpoint)
    content = checkpoints.read(path)
    if not isinstance(content, dict) or content.get("identity") != dict(training.identity):
        raise InputError(f"{path} is of another training than the checkpoint: remove it and {training.checkpoint.name}")
    return content


class RunningMean:
    """Running mean of the weights of ``network`` and of its batch norm statistics, in a copy of it.

    Each step keeps the share ``stays`` of the mean. The network's tensors have to be updated in place. torch's own
    ``AveragedModel`` counts its steps on the CPU, which waits for a GPU at each of them, and takes four kernels more
    for each buffer of integers.
    """

    def __init__(self, network: nn.Module, stays: float) -> None:
        self._copy = copy.deepcopy(network)
        self._moves = 1 - stays
        self._begun = False
        self._means, self._current = (
            [tensor for tensor in _state(model) if _has_mean(tensor)] for model in (self._copy, network)
        )
        self._others = [
            pair for pair in zip(_state(self._copy), _state(network), strict=True) if not _has_mean(pair[0])
        ]

    @property
    def network(self) -> nn.Module:
        """Copy with the means so far. Tensors without a mean (counts of batches) have the network's present values."""
        for copied, current in self._others:
            copied.copy_(current)
        return self._copy

    def update(self) -> None:
        """Update the means after a step of the network. The first step is copied."""
        _move(self._means, self._current, self._moves if self._begun else None)
        self._begun = True

    def warm_up(self) -> None:
        """Run both kernels of an update once, on copies of the means."""
        for share in (None, self._moves):
            _move([mean.clone() for mean in self._means], self._current, share)

    def go_on_from(self, state: Mapping[str, Tensor]) -> None:
        """Continue from ``state``, an earlier state dict of the property ``network``."""
        self._copy.load_state_dict(dict(state))
        self._begun = True


@torch.no_grad()
def _move(means: list[Tensor], current: list[Tensor], share: float | None) -> None:
    """Move ``means`` by ``share`` of the difference to ``current``; copy ``current`` for None."""
    if share is None:
        torch._foreach_copy_(means, current)
    else:
        torch._foreach_lerp_(means, current, share)


def _state(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def _has_mean(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def scheduler_of(optimizer: Optimizer, recipe: Recipe, schedule: Schedule) -> LRScheduler:
    """Return the scheduler of the recipe's learning rates: by the step for one cycle, else by the epoch."""
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
    """Number of steps in an epoch. A last batch of one image is no step: batch norm refuses it."""
    whole, rest = divmod(images, batch_size)
    return whole + (rest > 1 or images == 1)
