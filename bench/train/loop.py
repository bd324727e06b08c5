"""Training loop: cross-entropy, one pass after the other, resumable after any epoch.

On the CPU, with the same number of threads, a seed gives the same bits, interrupted or not: the order of the images,
their augmentation and dropout are drawn anew in each epoch from the seed and the number of the epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import torch

from bench.core.turns import Taken
from bench.measure.clock import synchronize
from bench.train.evaluate import Evaluation, evaluate_split
from bench.train.state import Run, begin, best_of, compile_steps, keep_best, resume, save, warm_up
from bench.train.training import Indices, Trained, Training, epoch_indices, split_indices, stops

PROGRESS_SECONDS = 1.0


class Diverged(ArithmeticError):
    """Loss that is not finite: later epochs would mean nothing."""


def train(training: Training) -> Trained:
    """Train to the end of the schedule, from the checkpoint if there is one.

    A checkpoint follows every epoch but the last, except in turns; the caller saves the weights of the last.

    Raises:
        InputError: the checkpoint is truncated, foreign, or of another training.
        Diverged: the loss of an epoch is not finite.
    """
    run = begin(training)
    train_indices, held_out = split_indices(training.recipe, training.dataset)
    epochs_done, history = resume(training, run)
    best = best_of(training) if epochs_done and len(held_out) else None
    compile_seconds = compile_steps(training, run)
    warm_up(training, run)

    def over() -> bool:
        done = len(history.get("seconds", ()))
        return done == training.schedule.epochs or stops(training.recipe, training.schedule, history)

    def next_epoch() -> Taken:
        nonlocal best
        epoch = len(history.get("seconds", ()))
        images = epoch_indices(train_indices, training.schedule.images_per_epoch, training.seed, epoch)
        results = _train_epoch(training, run, images, epoch)
        if len(held_out):
            results |= _judge(training, run, held_out)
            best = keep_best(training, run, epoch, results, best)
        results |= training.judge(run.counting)
        for name, value in results.items():
            history.setdefault(name, []).append(value)
        training.track(epoch + 1, results)
        training.progress(_epoch_line(training, epoch, results))
        if epoch + 1 < training.schedule.epochs and training.in_turns is None:
            save(training, run, epoch, history)
        return Taken(seconds=(results["seconds"],), last=over())

    if training.in_turns and not over():
        training.in_turns(next_epoch)
    while not over():
        next_epoch()
    training.network.load_state_dict(run.counting.state_dict())
    chosen = best_of(training) if len(held_out) else None
    return Trained(
        history=history,
        resumed_after=epochs_done,
        step=run.step,
        feed=run.feed,
        compile_seconds=compile_seconds,
        chosen=chosen,
    )


def _train_epoch(training: Training, run: Run, indices: Indices, epoch: int) -> dict[str, float]:
    """Train one pass over ``indices``. Sums stay on the device: reading a number each step would stall it.

    With the notes' loader the loss of each step is read, as their loops do.
    """
    device, reads = training.device, training.settings.pipeline == "dataloader"
    torch.manual_seed(_epoch_seed(training.seed, epoch))
    training.network.train()
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    seen, begin = 0, time.perf_counter()
    next_line = begin + PROGRESS_SECONDS
    for images, labels in run.feed(indices, epoch):
        if seen and len(labels) == 1:
            continue  # batch norm refuses a last batch of one image
        outputs, loss = run.step(images, labels)
        run.after_step(training.recipe)
        loss_sum += loss * len(labels)
        right += (outputs.argmax(1) == labels).sum()
        seen += len(labels)
        last_loss = float(loss) if reads else None
        if time.perf_counter() >= next_line:
            next_line = time.perf_counter() + PROGRESS_SECONDS
            training.progress(_step_line(training, epoch, seen, time.perf_counter() - begin, last_loss))
    synchronize(device)
    seconds = time.perf_counter() - begin
    training.watch()  # NVML takes milliseconds to answer
    if training.recipe.one_cycle is None:
        run.scheduler.step()
    results = {
        "seconds": seconds,
        "train_loss": float(loss_sum) / seen,
        "train_accuracy": int(right) / seen,
        "last_batch_loss": float(loss),
    }
    _refuse_divergence(training, epoch, results)
    return results


def _judge(training: Training, run: Run, held_out: Indices) -> dict[str, float]:
    evaluation: Evaluation = evaluate_split(
        run.counting,
        training.dataset.train,
        recipe=training.recipe,
        dataset=training.dataset,
        image_size=training.image_size,
        device=training.device,
        indices=held_out,
    )
    return {"validation_loss": evaluation.loss, "validation_accuracy": evaluation.accuracy}


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _refuse_divergence(training: Training, epoch: int, results: Mapping[str, float]) -> None:
    if not all(math.isfinite(value) for value in results.values()):
        raise Diverged(
            f"{training.name}: the loss is {results['train_loss']} after epoch {epoch + 1}: recipe "
            f"{training.recipe.name} diverged; its learning rate of {training.recipe.learning_rate} is too high here"
        )


def _step_line(training: Training, epoch: int, seen: int, seconds: float, loss: float | None) -> str:
    place = f"{training.name}: epoch {epoch + 1}/{training.schedule.epochs}"
    images = f"{seen:,}/{training.schedule.images_per_epoch:,} images, {seen / seconds:,.0f} images/s"
    return f"{place}, {images}" if loss is None else f"{place}, {images}, loss {loss:.3f}"


def _epoch_line(training: Training, epoch: int, results: Mapping[str, float]) -> str:
    place = f"{training.name}: epoch {epoch + 1}/{training.schedule.epochs} took {results['seconds']:.1f} s"
    line = f"{place}, loss {results['train_loss']:.3f}, accuracy {results['train_accuracy']:.1%}"
    if "validation_accuracy" not in results:
        return line
    return f"{line}, held out {results['validation_accuracy']:.1%}"
