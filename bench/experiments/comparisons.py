"""Experiments that compare trainings: transfer to new classes, ablations, and the speedrun to a target accuracy."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import models
from bench.core.amounts import SCOPES
from bench.core.errors import InputError, Unsupported
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace, recipe_of, sha256_of
from bench.data.images import ImageDataset
from bench.experiments.subject import build
from bench.experiments.training import dataset_for, initialised, measured
from bench.experiments.training_record import option_count
from bench.train.checkpoint import imagenet_file, load_weights
from bench.train.evaluate import evaluate_split
from models.ablations import ABLATIONS

IMAGENET_CLASSES = 1000


def run_transfer(case: Case, workspace: Workspace) -> Measurement:
    """Train a network that was trained on other classes: its head, all of it, or from scratch.

    Options of the case, in addition to those of a training: ``source``, which is ``five_classes`` (the weights in
    ``workspace.artefact``, trained on the other half of the classes) or ``imagenet`` (torchvision's, in the file
    ``imagenet_weights`` or in torch's folder of downloads); ``scope``, one of ``SCOPES``.

    Raises:
        InputError: the scope is unknown, or the weights do not fit.
        Unsupported: the weights to start from are missing.
    """
    scope = str(case.option("scope"))
    if scope not in SCOPES:
        raise InputError(f"scope '{scope}' is unknown; use {', '.join(SCOPES)}")
    weights = _weights(case, workspace)
    dataset = dataset_for(case, workspace)
    before = _classes_before(case, workspace)
    network = initialised(case, lambda: _network(case, before, len(dataset.classes), weights), dataset)
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    measurement = measured(case, workspace, dataset, network)
    counted = Figure(value=trainable, unit="parameters", better="lower", exact=True)
    return replace(
        measurement,
        figures={**measurement.figures, "trainable_parameters": counted},
        artefact=weights.name if weights and weights == workspace.artefact else None,
        weights_sha256=sha256_of(weights) if weights else None,
    )


def _weights(case: Case, workspace: Workspace) -> Path | None:
    """File of the initial weights; None for a training from scratch.

    ImageNet's weights must exist even then: without them there is nothing to compare with, after hours of training.
    """
    scratch = case.option("scope") == "scratch"
    if case.option("source") == "imagenet":
        named = case.option("imagenet_weights")
        file = Path(str(named)) if named else imagenet_file(case.model)
        return None if scratch else file
    if scratch:
        return None
    if workspace.artefact is None:
        raise Unsupported(workspace.untrained or "the training on the other classes left no weights")
    return workspace.artefact


def _classes_before(case: Case, workspace: Workspace) -> int:
    """Number of outputs of the network that the initial weights belong to."""
    if case.option("source") == "imagenet":
        return IMAGENET_CLASSES
    options = tuple((name, 1 if name == "half" else value) for name, value in case.options)
    return len(dataset_for(replace(case, options=options), workspace).classes)


def _network(case: Case, before: int, classes: int, weights: Path | None) -> nn.Module:
    """Network with the initial ``weights`` of ``before`` outputs, and a new head of ``classes`` outputs."""
    network = models.classifier(case.model, case.image_size).build(before)
    if weights:
        load_weights(weights, network)
    head = replace_head(network, case.model, classes)
    if case.option("scope") == "head":
        freeze_all_but(network, head)
    return network


def _resnet18_cifar(network: nn.Module, classes: int) -> str:
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, classes))
    return "classifier"


def _resnet14_cifar(network: nn.Module, classes: int) -> str:
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    return "classifier"


def _resnet18(network: nn.Module, classes: int) -> str:
    network.fc = nn.Linear(512, classes)
    return "fc"


def _vgg16(network: nn.Module, classes: int) -> str:
    """Replace the head as in note 2: 25088, 4096, 4096, then the classes, with ReLU and dropout of 0.5 between."""
    network.classifier = nn.Sequential(
        nn.Linear(25088, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, classes),
    )
    return "classifier"


HEADS: dict[str, Callable[[nn.Module, int], str]] = {
    "resnet14_cifar": _resnet14_cifar,
    "resnet18_cifar": _resnet18_cifar,
    "resnet18": _resnet18,
    "vgg16": _vgg16,
}
"""Network -> function that puts a new head for a number of classes on it and returns the head's module name."""


def replace_head(network: nn.Module, model: str, classes: int) -> str:
    """Put a new head on ``network``, drawn from torch's global generator. Returns the name of its module.

    Raises:
        InputError: ``HEADS`` does not list ``model``.
    """
    if model not in HEADS:
        raise InputError(f"the head of '{model}' is not known; transfer takes {', '.join(HEADS)}")
    return HEADS[model](network, classes)


def freeze_all_but(network: nn.Module, head: str) -> None:
    """Freeze all weights except those of the module ``head``. Frozen modules stay in evaluation mode.

    In training mode batch norm would adopt the statistics of the new images, and dropout would be on.
    """
    for name, child in network.named_children():
        if name != head:
            child.requires_grad_(False)
            child.eval()
            child.train = types.MethodType(_stay, child)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def run_ablation(case: Case, workspace: Workspace) -> Measurement:
    """Train ``case.model`` in the variant that options ``question`` and ``variant`` name, by the recipe of the case.

    Raises:
        InputError: there is no such question or variant.
    """
    dataset = dataset_for(case, workspace)
    network = initialised(case, lambda: _variant_of(case, dataset), dataset)
    return measured(case, workspace, dataset, network)


def _variant_of(case: Case, dataset: ImageDataset) -> nn.Module:
    question, name = str(case.option("question")), str(case.option("variant"))
    if question not in ABLATIONS or name not in ABLATIONS[question]:
        raise InputError(f"there is no variant '{name}' of question '{question}'; questions are {', '.join(ABLATIONS)}")
    variant = ABLATIONS[question][name]
    network = models.classifier(variant.model, case.image_size).build(len(dataset.classes))
    return variant.apply(network)


def run_speedrun(case: Case, workspace: Workspace) -> Measurement:
    """Seconds of training until the test accuracy reaches option ``target``, a fraction of 1.

    The images are on the device and everything is compiled before the clock starts. The clock stops while the test set
    is read, after each epoch. The seconds are those of all epochs up to the first that reaches the target.
    """
    dataset, target = dataset_for(case, workspace), float(case.option("target") or 0.0)
    recipe, images = recipe_of(case), option_count(case, "test_images")
    rows = np.arange(len(dataset.test.labels))[:images]

    def judge(network: nn.Module) -> Mapping[str, float]:
        found = evaluate_split(
            network,
            dataset.test,
            recipe=recipe,
            dataset=dataset,
            image_size=case.image_size,
            device=torch.device(case.device),
            indices=rows,
        )
        return {"test_accuracy": found.accuracy}

    network = initialised(case, lambda: build(case, dataset), dataset)
    return _with_target(measured(case, workspace, dataset, network, judge), target)


def _with_target(measurement: Measurement, target: float) -> Measurement:
    accuracies = measurement.series["test_accuracy"]
    figures = {**measurement.figures, "target_accuracy": Figure(value=target, unit="fraction")}
    epoch = next((place for place, accuracy in enumerate(accuracies) if accuracy >= target), None)
    if epoch is None:
        best = f"the best of {len(accuracies)} epochs is {max(accuracies):.4f}, below {target}"
        return replace(measurement, figures=figures, absent={**measurement.absent, "figures.seconds_to_target": best})
    passed = list(itertools.accumulate(measurement.seconds))[epoch]
    figures["seconds_to_target"] = Figure(value=passed, unit="s", better="lower")
    figures["epochs_to_target"] = Figure(value=epoch + 1, unit="epochs", better="lower")
    return replace(measurement, figures=figures)
