"""Train one network by its recipe, and judge it twice: rightly, and as the note did."""

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
from torch import nn

from bench.data.images import ImageDataset, load_dataset
from bench.errors import InputError, Unsupported
from bench.experiments.subject import build, dataset_of
from bench.measure import flags
from bench.measure.memory import weight_bytes
from bench.measure.quality import accuracy, keep_predictions
from bench.measure.state import Watch
from bench.records import Better, Case, Figure, Measurement, Peak, digest_of
from bench.train import checkpoint as checkpoints
from bench.train.artefacts import artefact_name, fit, recipe_of, training_code
from bench.train.checkpoint import best_path
from bench.train.evaluate import Evaluation, check_network, evaluate_as_noted, evaluate_split
from bench.train.inputs import normalization
from bench.train.loop import Trained, Training, split_indices, train, workers
from bench.train.recipes import TestFaults
from bench.train.schedule import schedule
from bench.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The network on the test set, after the last epoch and, where one was chosen, with the chosen epoch's weights."""

    last: Evaluation
    counted: Evaluation
    as_noted: Evaluation


def run(case: Case, workspace: Workspace) -> Measurement:
    """Train ``case.model`` on ``case.dataset`` and keep its weights under ``workspace.artefacts``.

    Options of the case: ``train_images`` (images seen in all; without it the recipe's epochs over all images),
    ``epoch_images`` (at most so many between two points of a curve), ``test_images`` (the first so many judge),
    ``classes`` (outputs of the user's network), ``normalize`` (in place of the recipe's). A training of the same case
    that was interrupted goes on from its last checkpoint.

    Raises:
        InputError: network, recipe, data or checkpoint cannot be used.
        Unsupported: another precision or mode than fp32, eager.
        Diverged: the loss of an epoch is not finite.
    """
    if (case.precision, case.mode) != ("fp32", "eager"):
        raise Unsupported(f"training at {case.precision}, {case.mode} is not part of the suite: fp32, eager is")
    device = torch.device(case.device)
    dataset = _dataset(case, workspace)
    network = _network(case, dataset)
    artefact = workspace.artefacts / artefact_name(case, dataset.digest, training_code(case.model))
    training = _training(case, workspace, dataset, network, artefact)
    watch = Watch(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trained = train(dataclasses.replace(training, watch=watch))
    peaks = _peaks(device)
    workspace.progress(f"{training.name}: testing")
    judged = _keep_and_judge(case, training, trained, artefact)
    labels = dataset.test.labels[: judged.counted.samples]
    stored = keep_predictions(judged.counted.predictions, workspace.predictions, f"{artefact.stem}-training")
    measurement = Measurement(
        case=case,
        seconds=tuple(trained.history["seconds"]),
        items_per_step=training.schedule.images_per_epoch,
        weight_bytes=weight_bytes(network),
        peaks=peaks,
        quality=accuracy(judged.counted.predictions, labels, stored),
        flags=flags.current(),
        device_state=tuple(watch.states),
        figures=_figures(training, trained, judged),
        series={name: tuple(values) for name, values in trained.history.items() if name != "seconds"},
        artefact=artefact.name,
        absent=_absent(device, judged),
        notes=_notes(training, trained),
    )
    for finished in (training.checkpoint, best_path(training.checkpoint)):
        finished.unlink(missing_ok=True)
    return measurement


def _dataset(case: Case, workspace: Workspace) -> ImageDataset:
    if workspace.decoded is not None:
        return dataset_of(workspace)
    return load_dataset(
        case.dataset, data_dir=workspace.data_dir, image_size=case.image_size, progress=workspace.progress
    )


def _network(case: Case, dataset: ImageDataset) -> nn.Module:
    """The network of the case, initialised from its seed, and tried on two images."""
    torch.manual_seed(case.seed)
    network = build(case, dataset)
    check_network(
        network,
        case.model,
        classes=len(dataset.classes),
        image_size=case.image_size,
        device=torch.device("cpu"),
        training=True,
    )
    return network.to(case.device)


def _training(case: Case, workspace: Workspace, dataset: ImageDataset, network: nn.Module, artefact: Path) -> Training:
    recipe = recipe_of(case)
    kept, _ = split_indices(recipe, dataset)
    plan = schedule(recipe, len(kept), _count(case, "train_images"), _count(case, "epoch_images"))
    return Training(
        name=f"{case.model} ({recipe.name}, seed {case.seed})",
        network=network,
        recipe=recipe,
        schedule=plan,
        dataset=dataset,
        image_size=case.image_size,
        device=torch.device(case.device),
        seed=case.seed,
        checkpoint=_checkpoint(case, workspace, artefact),
        identity={
            "model": case.model,
            "recipe": recipe.name,
            "normalisation": recipe.normalize,
            "data": f"{dataset.name} {dataset.digest}",
            "image size": case.image_size,
            "seed": case.seed,
            "epochs": plan.epochs,
            "images an epoch": plan.images_per_epoch,
        },
        progress=workspace.progress,
    )


def _checkpoint(case: Case, workspace: Workspace, artefact: Path) -> Path:
    """Where an unfinished training waits. Only one of the same code, machine and threads goes on from it.

    Epochs of two machines, or of one thread and of two, have no median in common.
    """
    conditions = digest_of({"threads": case.threads, "run": workspace.fingerprint})
    return artefact.with_name(f"{artefact.stem.removesuffix('-best')}-{conditions}.partial.pt")


def _keep_and_judge(case: Case, training: Training, trained: Trained, artefact: Path) -> Judged:
    """Write the weights, the chosen epoch's beside the last, and read the test set.

    The network ends with the weights that count.
    """
    state = training.network.state_dict()
    content = _content(training, state, training.schedule.epochs, trained.history["last_batch_loss"][-1])
    if trained.chosen is None:
        checkpoints.write(artefact, content)
        last = counted = _test(case, training)
    else:
        checkpoints.write(artefact.with_name(f"{artefact.stem.removesuffix('-best')}.pt"), content)
        last = _test(case, training)
        chosen = trained.chosen
        fit(training.network, chosen["model_state_dict"], str(best_path(training.checkpoint)))
        checkpoints.write(artefact, _content(training, chosen["model_state_dict"], chosen["epoch"], chosen["loss"]))
        counted = _test(case, training)
    return Judged(last=last, counted=counted, as_noted=_test_as_noted(training, counted))


def _content(training: Training, state: Mapping[str, Any], epoch: int, loss: float) -> dict[str, Any]:
    """The finished training as one dict, as the notes keep it, and what is needed to use the weights elsewhere."""
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
        indices=np.arange(min(images, _count(case, "test_images") or images)),
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
        workers=workers(training.recipe),
    )


def _effective_faults(training: Training) -> TestFaults:
    faults = training.recipe.faults
    return dataclasses.replace(faults, flip=faults.flip and training.dataset.flip)


def _figures(training: Training, trained: Trained, judged: Judged) -> dict[str, Figure]:
    images, kept = training.schedule.images_per_epoch, split_indices(training.recipe, training.dataset)[0]
    seconds = statistics.median(trained.history["seconds"])
    steps = math.ceil(images / training.recipe.batch_size)
    figures = {
        "images_per_second": Figure(value=images / seconds, unit="images/s", better="higher"),
        "steps_per_second": Figure(value=steps / seconds, unit="steps/s", better="higher"),
        "test_accuracy_as_noted": _fraction(judged.as_noted.accuracy),
        "test_accuracy_last": _fraction(judged.last.accuracy),
        "last_batch_loss": _loss(trained.history["last_batch_loss"][-1]),
        "epochs": _exact(training.schedule.epochs, "epochs"),
        "images_per_epoch": _exact(images, "images"),
        "training_images": _exact(len(kept), "images"),
        "parameters": _exact(sum(parameter.numel() for parameter in training.network.parameters()), "parameters"),
    }
    for name, found in (("test_loss", judged.counted), ("test_loss_as_noted", judged.as_noted)):
        if math.isfinite(found.loss):
            figures[name] = _loss(found.loss)
    if trained.chosen is not None:
        figures["test_accuracy_chosen"] = _fraction(judged.counted.accuracy)
        figures["validation_accuracy"] = _fraction(trained.chosen["validation_accuracy"])
        figures["chosen_epoch"] = Figure(value=trained.chosen["epoch"], unit="epoch")
    return figures


def _exact(count: int, unit: str) -> Figure:
    better: Better | None = "lower" if unit == "parameters" else None
    return Figure(value=count, unit=unit, better=better, exact=True)


def _fraction(value: float) -> Figure:
    return Figure(value=value, unit="fraction", better="higher")


def _loss(value: float) -> Figure:
    return Figure(value=value, unit="nats", better="lower")


def _peaks(device: torch.device) -> tuple[Peak, ...]:
    """On CUDA the allocator counts its peak anyway: reading it afterwards costs the training nothing."""
    if device.type != "cuda":
        return ()
    return (
        Peak(phase="steady", kind="cuda_allocated", bytes=torch.cuda.max_memory_allocated(device)),
        Peak(phase="steady", kind="cuda_reserved", bytes=torch.cuda.max_memory_reserved(device)),
    )


def _absent(device: torch.device, judged: Judged) -> dict[str, str]:
    absent = {
        "device_seconds": "an epoch is timed by the wall clock, with its data loading",
        "serialized_bytes": "measured by the inference of these weights",
        "coverage": "nothing is quantised in training",
        "energy_joules_per_item": "not measured while training",
    }
    if device.type != "cuda":
        absent["peaks"] = "resident memory cannot be watched without disturbing a timed training"
    for name, found in (("test_loss", judged.counted), ("test_loss_as_noted", judged.as_noted)):
        if not math.isfinite(found.loss):
            absent[f"figures.{name}"] = f"the loss is {found.loss}: the network's outputs overflow on some test image"
    return absent


def _notes(training: Training, trained: Trained) -> tuple[str, ...]:
    notes = []
    if trained.resumed_after:
        notes.append(f"resumed after epoch {trained.resumed_after} of {training.schedule.epochs} from a checkpoint")
    if training.recipe.flip and not training.dataset.flip:
        notes.append(f"images of {training.dataset.name} are not flipped: mirrored, they are no longer of their class")
    if training.recipe.faults.any and _effective_faults(training) == TestFaults():
        notes.append("the note's test-time faults change nothing here: as noted is as corrected")
    return tuple(notes)


def _count(case: Case, option: str) -> int | None:
    value = case.option(option)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise InputError(f"option {option} of a training is {value!r}: a number of images of 1 or more is allowed")
