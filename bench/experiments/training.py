"""Training of one network by its recipe, judged twice: correctly, and as the note did.

Other kinds of training (``transfer``, ``ablation``, ``speedrun``) pass their own network and data to `measured`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from bench.core.artefacts import artefact_name, recipe_of
from bench.core.errors import Unsupported
from bench.core.records import Case, Cold, Measurement, digest_of
from bench.core.turns import Taken, Turns
from bench.core.workspace import Workspace, sha256_of
from bench.data.images import ImageDataset, half_of, load_dataset
from bench.experiments.modes import prepare_compiler
from bench.experiments.subject import build, dataset_of
from bench.experiments.training_record import (
    figures_of,
    keep_and_judge,
    notes_of,
    option_count,
    peaks_of,
    why_absent,
)
from bench.measure import machine, memory
from bench.measure.machine import cpu_features
from bench.measure.quality import accuracy, keep_predictions
from bench.measure.state import Watch
from bench.measure.trace import traced
from bench.precision import native
from bench.train.checkpoint import best_path
from bench.train.evaluate import check_network
from bench.train.loop import train
from bench.train.step import Settings, settings_of
from bench.train.tracking import tracker_of
from bench.train.training import Trained, Training, epoch_indices, schedule, split_indices, unjudged

PRECISIONS = ("fp32", "tf32", "bf16_autocast")
"""Precisions of trainings. Weights are float32 in all of them."""
KEEPING = ("training", "pretraining")
"""Experiments whose weights others read: only they leave a file of them."""
BFLOAT16_FEATURES = {"avx512_bf16", "amx_bf16"}
"""CPU features of which one is enough for products of bfloat16."""
Judge = Callable[[nn.Module], Mapping[str, float]]


def run(case: Case, workspace: Workspace) -> Measurement:
    """Train ``case.model`` on ``case.dataset`` and keep its weights under ``workspace.artefacts``.

    Options of the case: ``train_images`` (images seen in all; without it the recipe's epochs over all images),
    ``epoch_images`` (at most so many between two points of a curve), ``test_images`` (the first so many judge),
    ``classes`` (outputs of the user's network), ``normalize`` (in place of the recipe's), ``half`` (1 or 2: only images
    of the first or the second half of the classes), and what ``train.settings`` reads. A training of the same case
    that was interrupted goes on from its last checkpoint.

    Raises:
        InputError: network, recipe, data or checkpoint cannot be used.
        Unsupported: a precision or mode in which nothing is trained here.
        Diverged: the loss of an epoch is not finite.
    """
    dataset = dataset_for(case, workspace)
    return measured(case, workspace, dataset, initialised(case, lambda: build(case, dataset), dataset))


def measured(
    case: Case, workspace: Workspace, dataset: ImageDataset, network: nn.Module, judge: Judge = unjudged
) -> Measurement:
    """Train ``network`` by the recipe of ``case`` on ``dataset``, keep its weights and judge it.

    ``judge`` is called after each epoch, outside its seconds; its values are series of the measurement.
    """
    device = torch.device(case.device)
    set_arithmetic(case, workspace)
    artefact = _artefact(case, workspace, dataset)
    watch, track = Watch(device), tracker_of(case, workspace)
    training = training_of(case, workspace, dataset, network)
    in_turns = _in_turns(workspace.turns, watch, device) if workspace.turns else None
    training = dataclasses.replace(training, watch=watch, judge=judge, track=track, in_turns=in_turns)
    trained = train(training)
    watch.last()
    workspace.progress(f"{training.name}: testing")
    keeps = case.experiment in KEEPING
    judged = keep_and_judge(case, training, trained, artefact if keeps else None)
    track(len(trained.history["seconds"]), {"test_loss": judged.counted.loss, "test_accuracy": judged.counted.accuracy})
    labels = dataset.test.labels[: judged.counted.samples]
    stored = None
    if case.option("half") is None:  # a report pairs labels of the whole data set only
        name = f"{artefact.stem}-{case.experiment}"
        stored = keep_predictions(judged.counted.predictions, workspace.predictions, name)
    measurement = Measurement(
        case=case,
        seconds=tuple(trained.history["seconds"]),
        items_per_step=training.schedule.images_per_epoch,
        cold=Cold(compile=trained.compile_seconds),
        weight_bytes=memory.weight_bytes(network),
        peaks=peaks_of(training, trained),
        quality=accuracy(judged.counted.predictions, labels, stored),
        flags=machine.current_flags(),
        device_state=tuple(watch.states),
        figures=figures_of(training, trained, judged),
        series={name: tuple(values) for name, values in trained.history.items() if name != "seconds"},
        artefact=artefact.name if keeps else None,
        weights_sha256=sha256_of(artefact) if keeps else None,
        absent=why_absent(device, judged),
        notes=notes_of(training, trained),
    )
    measurement = traced(measurement, workspace, _real_steps(training, trained))
    for finished in (training.checkpoint, best_path(training.checkpoint)):
        workspace.spent(finished)
    return measurement


def _in_turns(turns: Turns, watch: Watch, device: torch.device) -> Callable[[Callable[[], Taken]], None]:
    """Turns of ``turns``, each an epoch. The time of other routes is not that of foreign processes."""

    def serve(next_epoch: Callable[[], Taken]) -> None:
        def take() -> Taken:
            watch.resume()
            taken = next_epoch()
            watch.pause()
            return taken

        watch.pause()
        turns.serve(take, None, memory.held_bytes(device))
        watch.resume()

    return serve


def _real_steps(training: Training, trained: Trained) -> Callable[[], object]:
    """Steps of the training on its own full batches, for a trace. They train the weights further."""
    kept, _ = split_indices(training.recipe, training.dataset)
    images = training.schedule.images_per_epoch
    epochs = ((epoch_indices(kept, images, training.seed, epoch), epoch) for epoch in itertools.count())
    batches = (batch for indices, epoch in epochs for batch in trained.feed(indices, epoch))
    whole = (batch for batch in batches if len(batch[1]) == min(images, training.recipe.batch_size))

    def step() -> object:
        training.network.train()
        return trained.step(*next(whole))

    return step


def set_arithmetic(case: Case, workspace: Workspace) -> None:
    """Set the number formats and the compiler's cache of this process.

    Raises:
        Unsupported: nothing is trained at this precision, or this machine has no instructions for it.
    """
    if case.precision not in PRECISIONS:
        raise Unsupported(f"training at {case.precision} is not part of the suite; use {', '.join(PRECISIONS)}")
    if case.precision == "tf32":
        native.allow_tf32(torch.device(case.device))
    if case.precision == "bf16_autocast":
        native.need_capability(torch.device(case.device), "bfloat16")
        if case.device == "cpu" and not BFLOAT16_FEATURES & set(cpu_features()):
            raise Unsupported(
                "this CPU has no instructions for bfloat16: it would only convert to it and back at each step"
            )
    if case.mode == "compiled":
        prepare_compiler(case, workspace, may_freeze=False)


def dataset_for(case: Case, workspace: Workspace) -> ImageDataset:
    """Data set of ``case``, or half of its classes if the case has option ``half``."""
    if workspace.decoded is not None:
        dataset = dataset_of(workspace)
    else:
        dataset = load_dataset(
            case.dataset, data_dir=workspace.data_dir, image_size=case.image_size, progress=workspace.progress
        )
    half = case.option("half")
    return dataset if half is None else half_of(dataset, second=half == 2)


def initialised(case: Case, build_one: Callable[[], nn.Module], dataset: ImageDataset) -> nn.Module:
    """Network of ``build_one``, initialised from the seed of ``case``, tried on two images, on its device."""
    torch.manual_seed(case.seed)
    network = build_one()
    check_network(
        network,
        case.model,
        classes=len(dataset.classes),
        image_size=case.image_size,
        device=torch.device("cpu"),
        training=True,
    )
    return network.to(case.device)


def _artefact(case: Case, workspace: Workspace, dataset: ImageDataset) -> Path:
    return workspace.artefacts / artefact_name(case, dataset.digest, workspace.training_code)


def training_of(case: Case, workspace: Workspace, dataset: ImageDataset, network: nn.Module) -> Training:
    """Training of ``network`` that ``case`` describes."""
    recipe = recipe_of(case)
    kept, _ = split_indices(recipe, dataset)
    plan = schedule(recipe, len(kept), option_count(case, "train_images"), option_count(case, "epoch_images"))
    return Training(
        name=f"{case.model} ({recipe.name}, seed {case.seed})",
        network=network,
        recipe=recipe,
        settings=settings_of(case),
        schedule=plan,
        dataset=dataset,
        image_size=case.image_size,
        device=torch.device(case.device),
        seed=case.seed,
        checkpoint=_checkpoint(case, workspace, _artefact(case, workspace, dataset)),
        identity={
            "model": case.model,
            "recipe": recipe.name,
            "normalisation": recipe.normalize,
            "data": f"{dataset.name} {dataset.digest}",
            "image size": case.image_size,
            "seed": case.seed,
            "epochs": plan.epochs,
            "images an epoch": plan.images_per_epoch,
            "settings": _words(settings_of(case)),
        },
        progress=workspace.progress,
    )


def _checkpoint(case: Case, workspace: Workspace, artefact: Path) -> Path:
    """File of an unfinished training. Only a training of the same code, machine and threads resumes from it.

    Epochs of two machines, or of one and of two threads, must not share a median.
    """
    conditions = digest_of({"threads": case.threads, "run": workspace.fingerprint})
    return artefact.with_name(f"{artefact.stem.removesuffix('-best')}-{conditions}.partial.pt")


def _words(settings: Settings) -> str:
    """Settings that differ from the plain ones, in words, to identify a checkpoint."""
    plain = Settings(pipeline="dataloader")
    given = dataclasses.asdict(settings)
    return ", ".join(f"{name} {value}" for name, value in given.items() if value != getattr(plain, name)) or "plain"
