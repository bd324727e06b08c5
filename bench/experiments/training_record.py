"""Record of a finished training: its weights in a file, its accuracies, and the figures of its measurement."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.errors import InputError
from bench.core.recipes import TestFaults
from bench.core.records import Better, Case, Figure, Peak
from bench.data.augmentation import normalization
from bench.measure import memory
from bench.train import checkpoint as checkpoints
from bench.train.checkpoint import best_path, fit
from bench.train.evaluate import Evaluation, evaluate_as_noted, evaluate_split
from bench.train.training import Trained, Training, epoch_indices, split_indices


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Results on the test set, with the last epoch's weights and, if one was chosen, with the chosen epoch's."""

    last: Evaluation
    counted: Evaluation
    as_noted: Evaluation


def keep_and_judge(case: Case, training: Training, trained: Trained, artefact: Path | None) -> Judged:
    """Judge on the test set, and write the weights to ``artefact`` if given, the chosen epoch's beside the last.

    Afterwards the network has the weights that count.
    """
    state = training.network.state_dict()
    content = _content(training, state, len(trained.history["seconds"]), trained.history["last_batch_loss"][-1])
    if trained.chosen is None:
        _write(artefact, content)
        last = counted = _test(case, training)
    else:
        _write(artefact and artefact.with_name(f"{artefact.stem.removesuffix('-best')}.pt"), content)
        last = _test(case, training)
        chosen = trained.chosen
        fit(training.network, chosen["model_state_dict"], str(best_path(training.checkpoint)))
        _write(artefact, _content(training, chosen["model_state_dict"], chosen["epoch"], chosen["loss"]))
        counted = _test(case, training)
    return Judged(last=last, counted=counted, as_noted=_test_as_noted(training, counted))


def _write(artefact: Path | None, content: Mapping[str, Any]) -> None:
    if artefact:
        checkpoints.write(artefact, content)


def _content(training: Training, state: Mapping[str, Any], epoch: int, loss: float) -> dict[str, Any]:
    """Finished training as one dict, in the notes' form, with all that is needed to use the weights elsewhere."""
    return {
        "epoch": epoch,
        "model_state_dict": state,
        "loss": loss,
        "classes": list(training.dataset.classes),
        "normalization": normalization(training.recipe.normalize, training.dataset),
        "identity": dict(training.identity),
    }


def _test(case: Case, training: Training) -> Evaluation:
    images = len(training.dataset.test.labels)
    return evaluate_split(
        training.network,
        training.dataset.test,
        recipe=training.recipe,
        dataset=training.dataset,
        image_size=training.image_size,
        device=training.device,
        indices=np.arange(min(images, option_count(case, "test_images") or images)),
    )


def _test_as_noted(training: Training, right: Evaluation) -> Evaluation:
    if _effective_faults(training) == TestFaults():
        return right
    return evaluate_as_noted(
        training.network,
        training.dataset,
        training.recipe,
        image_size=training.image_size,
        device=training.device,
        seed=training.seed,
        test_images=right.samples,
    )


def _effective_faults(training: Training) -> TestFaults:
    faults = training.recipe.faults
    return dataclasses.replace(faults, flip=faults.flip and training.dataset.flip)


def figures_of(training: Training, trained: Trained, judged: Judged) -> dict[str, Figure]:
    images, kept = training.schedule.images_per_epoch, split_indices(training.recipe, training.dataset)[0]
    seconds = statistics.median(trained.history["seconds"])
    steps = math.ceil(images / training.recipe.batch_size)
    figures = {
        "images_per_second": Figure(value=images / seconds, unit="images/s", better="higher"),
        "steps_per_second": Figure(value=steps / seconds, unit="steps/s", better="higher"),
        "test_accuracy_as_noted": fraction(judged.as_noted.accuracy),
        "test_accuracy_last": fraction(judged.last.accuracy),
        "last_batch_loss": _loss(trained.history["last_batch_loss"][-1]),
        "epochs": exact(len(trained.history["seconds"]), "epochs"),
        "training_seconds": Figure(value=math.fsum(trained.history["seconds"]), unit="s", better="lower"),
        "images_per_epoch": exact(images, "images"),
        "training_images": exact(len(kept), "images"),
        "parameters": exact(sum(parameter.numel() for parameter in training.network.parameters()), "parameters"),
    }
    for name, found in (("test_loss", judged.counted), ("test_loss_as_noted", judged.as_noted)):
        if math.isfinite(found.loss):
            figures[name] = _loss(found.loss)
    if trained.chosen is not None:
        figures["test_accuracy_chosen"] = fraction(judged.counted.accuracy)
        figures["validation_accuracy"] = fraction(trained.chosen["validation_accuracy"])
        figures["chosen_epoch"] = Figure(value=trained.chosen["epoch"], unit="epoch")
    return figures


def exact(count: int, unit: str) -> Figure:
    better: Better | None = "lower" if unit == "parameters" else None
    return Figure(value=count, unit=unit, better=better, exact=True)


def fraction(value: float) -> Figure:
    return Figure(value=value, unit="fraction", better="higher")


def _loss(value: float) -> Figure:
    return Figure(value=value, unit="nats", better="lower")


def peaks_of(training: Training, trained: Trained) -> tuple[Peak, ...]:
    """Peaks of one more step after the training, since the first steps on CUDA include cuDNN's trials of algorithms."""
    device = training.device
    if memory.why_absent(device):
        return ()
    kept, _ = split_indices(training.recipe, training.dataset)
    batch = next(iter(trained.feed(epoch_indices(kept, training.schedule.images_per_epoch, training.seed, 0), 0)))
    training.network.train()
    return tuple(memory.steady_peaks(lambda: trained.step(*batch), device))


def why_absent(device: torch.device, judged: Judged) -> dict[str, str]:
    absent = {
        "device_seconds": "an epoch is timed by the wall clock, with its data loading",
        "serialized_bytes": "measured by the inference of these weights",
        "coverage": "nothing is quantised in training",
        "energy_joules_per_item": "not measured while training",
        **memory.absent_peaks(device),
    }
    for name, found in (("test_loss", judged.counted), ("test_loss_as_noted", judged.as_noted)):
        if not math.isfinite(found.loss):
            absent[f"figures.{name}"] = f"the loss is {found.loss}: outputs of the network overflow on a test image"
    return absent


def notes_of(training: Training, trained: Trained) -> tuple[str, ...]:
    notes = []
    if trained.resumed_after:
        notes.append(f"resumed after epoch {trained.resumed_after} of {training.schedule.epochs} from a checkpoint")
    epochs = len(trained.history["seconds"])
    if epochs < training.schedule.epochs:
        notes.append(
            f"stopped early after epoch {epochs} of {training.schedule.epochs}: no lower loss on held-out images"
        )
    if training.recipe.flip and not training.dataset.flip:
        notes.append(
            f"images of {training.dataset.name} are not flipped, since a mirrored image may be of another class"
        )
    if training.recipe.faults.any and _effective_faults(training) == TestFaults():
        notes.append("the note's faults at test time have no effect here: accuracy as noted equals the corrected one")
    return tuple(notes)


def option_count(case: Case, option: str) -> int | None:
    value = case.option(option)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise InputError(f"option {option} of a training is {value!r}; give a number of images of 1 or more")
