"""The training loop: cross-entropy, one pass after the other, resumable after any epoch.

On the CPU, with as many threads, a training gives the same bits for the same seed, interrupted or not: the order of the
images, their augmentation and dropout are all drawn anew in each epoch from the seed and the number of the epoch.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional  # noqa: F401  # the loader's workers inherit it: each would import it, each epoch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import MultiStepLR

from bench.data.images import ImageDataset
from bench.data.pipelines import loader_for_epoch
from bench.data.splits import hold_out
from bench.errors import InputError
from bench.measure.clock import synchronize
from bench.train import checkpoint as checkpoints
from bench.train.artefacts import fit
from bench.train.checkpoint import Checkpoint, Identity, best_path
from bench.train.evaluate import Evaluation, check_logits, evaluate_split
from bench.train.inputs import training_augmentation
from bench.train.recipes import Recipe
from bench.train.schedule import Schedule

PROGRESS_SECONDS = 1.0
Indices = NDArray[np.int64]


class Diverged(ArithmeticError):
    """The loss is no longer a number: nothing that follows would mean anything."""


def _nothing() -> None:
    """Nobody watches the device."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that one training needs. The network comes initialised, on its device."""

    name: str
    """For the lines of progress."""
    network: nn.Module
    recipe: Recipe
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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave. The network holds the last epoch's weights.

    ``history`` has one number an epoch: ``seconds`` (training alone), ``train_loss`` and ``train_accuracy`` (means over
    the epoch's images as they were trained on), ``last_batch_loss``, and ``validation_loss`` and
    ``validation_accuracy`` where images are held out. Epochs are counted from 1.
    """

    history: Mapping[str, list[float]]
    resumed_after: int
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


def train(training: Training) -> Trained:
    """Train to the end of the schedule, from the checkpoint if there is one.

    After every epoch but the last a checkpoint is written; the caller keeps the weights of the last.

    Raises:
        InputError: the checkpoint is torn, foreign, or of another training.
        Diverged: the loss of an epoch is not finite.
    """
    optimizer = _optimizer(training.network, training.recipe)
    scheduler = MultiStepLR(optimizer, list(training.schedule.milestones), gamma=0.1)
    kept, held_out = split_indices(training.recipe, training.dataset)
    done, history = _resume(training, optimizer, scheduler)
    best = _best(training) if done and len(held_out) else None
    for epoch in range(done, training.schedule.epochs):
        images = epoch_indices(kept, training.schedule.images_per_epoch, training.seed, epoch)
        results = _train_epoch(training, optimizer, images, epoch)
        scheduler.step()
        if len(held_out):
            results |= _judge(training, held_out)
            best = _keep_best(training, epoch, results, best)
        for name, value in results.items():
            history.setdefault(name, []).append(value)
        training.progress(_epoch_line(training, epoch, results))
        if epoch + 1 < training.schedule.epochs:
            _save(training, optimizer, scheduler, epoch, history)
    return Trained(history=history, resumed_after=done, chosen=_best(training) if len(held_out) else None)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise InputError("the network has no parameter to train: give one with parameters that require gradients")
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            trainable, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    return torch.optim.Adam(trainable, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _train_epoch(
    training: Training, optimizer: torch.optim.Optimizer, indices: Indices, epoch: int
) -> dict[str, float]:
    """One pass over ``indices``. Sums stay on the device: asking for a number each step would stall it."""
    network, device, recipe = training.network, training.device, training.recipe
    torch.manual_seed(_epoch_seed(training.seed, epoch))
    network.train()
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    seen, begin = 0, time.perf_counter()
    next_line = begin + PROGRESS_SECONDS
    loader = loader_for_epoch(
        training.dataset.train,
        indices,
        augmentation=training_augmentation(recipe, training.dataset),
        image_size=training.image_size,
        batch_size=recipe.batch_size,
        workers=workers(recipe),
        shuffle=True,
        seed=training.seed,
        epoch=epoch,
    )
    for images, labels in loader:
        if seen and len(labels) == 1:
            continue  # batch norm refuses the single image that may be left over
        labels = labels.to(device, non_blocking=True)
        outputs, loss = _step(training, optimizer, images.to(device, non_blocking=True), labels)
        loss_sum += loss * len(labels)
        right += (outputs.argmax(1) == labels).sum()
        seen += len(labels)
        if time.perf_counter() >= next_line:
            next_line = time.perf_counter() + PROGRESS_SECONDS
            training.progress(_step_line(training, epoch, seen, time.perf_counter() - begin, float(loss)))
    training.watch()
    synchronize(device)
    seconds = time.perf_counter() - begin
    results = {
        "seconds": seconds,
        "train_loss": float(loss_sum) / seen,
        "train_accuracy": int(right) / seen,
        "last_batch_loss": float(loss),
    }
    _refuse_divergence(training, epoch, results)
    return results


def _step(
    training: Training, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    optimizer.zero_grad(set_to_none=True)
    outputs = training.network(images)
    check_logits(outputs, training.name, images=len(labels), classes=len(training.dataset.classes))
    loss = functional.cross_entropy(outputs, labels)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()
    return outputs.detach(), loss.detach()


def workers(recipe: Recipe) -> int:
    """The recipe's loader workers, but no more than there are cores: torch warns of those. They change no image."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(recipe.workers, cores)


def _judge(training: Training, held_out: Indices) -> dict[str, float]:
    found: Evaluation = evaluate_split(
        training.network,
        training.dataset.train,
        recipe=training.recipe,
        dataset=training.dataset,
        image_size=training.image_size,
        device=training.device,
        indices=held_out,
    )
    return {"validation_loss": found.loss, "validation_accuracy": found.accuracy}


def _keep_best(
    training: Training, epoch: int, results: Mapping[str, float], best: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Write the weights if they are the best so far; of equals the earlier stays.

    They are written before the epoch's checkpoint and tell their own epoch and accuracy: a kill between the two leaves
    a true statement.
    """
    if best is not None and results["validation_accuracy"] <= best["validation_accuracy"]:
        return best
    found = {
        "epoch": epoch + 1,
        "model_state_dict": training.network.state_dict(),
        "loss": results["last_batch_loss"],
        "validation_accuracy": results["validation_accuracy"],
        "identity": dict(training.identity),
    }
    checkpoints.write(best_path(training.checkpoint), found)
    return {name: value for name, value in found.items() if name != "model_state_dict"}


def _best(training: Training) -> Mapping[str, Any]:
    path = best_path(training.checkpoint)
    content = checkpoints.read(path)
    if not isinstance(content, dict) or content.get("identity") != dict(training.identity):
        raise InputError(f"{path} is not the chosen epoch of this training: remove it and {training.checkpoint.name}")
    return content


def _save(
    training: Training,
    optimizer: torch.optim.Optimizer,
    scheduler: MultiStepLR,
    epoch: int,
    history: Mapping[str, list[float]],
) -> None:
    checkpoints.save(
        training.checkpoint,
        Checkpoint(
            epoch=epoch + 1,
            model_state_dict=training.network.state_dict(),
            optimizer_state_dict=optimizer.state_dict(),
            scheduler_state_dict=scheduler.state_dict(),
            loss=history["last_batch_loss"][-1],
            history=history,
            identity=training.identity,
        ),
    )


def _resume(
    training: Training, optimizer: torch.optim.Optimizer, scheduler: MultiStepLR
) -> tuple[int, dict[str, list[float]]]:
    """Epochs done and their history; network, optimiser and scheduler are as they were after them."""
    if not training.checkpoint.exists():
        return 0, {}
    found = checkpoints.load(training.checkpoint, training.identity)
    fit(training.network, found.model_state_dict, str(training.checkpoint))
    optimizer.load_state_dict(dict(found.optimizer_state_dict))
    scheduler.load_state_dict(dict(found.scheduler_state_dict))
    training.progress(f"{training.name}: going on after epoch {found.epoch} of {training.schedule.epochs}")
    return found.epoch, {name: list(values) for name, values in found.history.items()}


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _refuse_divergence(training: Training, epoch: int, results: Mapping[str, float]) -> None:
    if not all(math.isfinite(value) for value in results.values()):
        raise Diverged(
            f"{training.name}: the loss is {results['train_loss']} after epoch {epoch + 1}: "
            f"{training.recipe.name} diverged, its learning rate of {training.recipe.learning_rate} is too high here"
        )


def _step_line(training: Training, epoch: int, seen: int, seconds: float, loss: float) -> str:
    place = f"{training.name}: epoch {epoch + 1}/{training.schedule.epochs}"
    images = f"{seen:,}/{training.schedule.images_per_epoch:,} images, {seen / seconds:,.0f} images/s"
    return f"{place}, {images}, loss {loss:.3f}"


def _epoch_line(training: Training, epoch: int, results: Mapping[str, float]) -> str:
    place = f"{training.name}: epoch {epoch + 1}/{training.schedule.epochs} took {results['seconds']:.1f} s"
    line = f"{place}, loss {results['train_loss']:.3f}, accuracy {results['train_accuracy']:.1%}"
    if "validation_accuracy" not in results:
        return line
    return f"{line}, held out {results['validation_accuracy']:.1%}"
