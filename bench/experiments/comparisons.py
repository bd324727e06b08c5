"""Train a network of other classes on new ones: its head alone, all of it, or from scratch."""

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
from bench.core.artefacts import recipe_of
from bench.core.comparisons import SCOPES
from bench.core.errors import InputError, Unsupported
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace, sha256_of
from bench.data.images import ImageDataset
from bench.experiments.subject import build
from bench.experiments.training import dataset_for, initialised, measured
from bench.experiments.training_record import option_count
from bench.train.artefacts import imagenet_file, load_weights
from bench.train.evaluate import evaluate_split
from models.ablations import ABLATIONS

IMAGENET_CLASSES = 1000


def run_transfer(case: Case, workspace: Workspace) -> Measurement:
    """Train ``case.model`` on new classes.

    Options of the case in addition to those of a training: ``source``, ``five_classes`` (the weights in
    ``workspace.artefact``, of a training on the other half of the classes) or ``imagenet`` (torchvision's, in the file
    ``imagenet_weights`` or where torch keeps its downloads); ``scope``, one of ``SCOPES``.

    Raises:
        InputError: the scope is unknown, or the weights do not fit.
        Unsupported: the weights to start from are missing.
    """
    scope = str(case.option("scope"))
    if scope not in SCOPES:
        raise InputError(f"scope '{scope}' is unknown: {', '.join(SCOPES)} are allowed")
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
    """Return the file of the first weights; None from scratch.

    Without ImageNet's weights the training from scratch has no counterpart and may take hours: it is refused too.
    """
    scratch = case.option("scope") == "scratch"
    if case.option("source") == "imagenet":
        named = case.option("imagenet_weights")
        file = Path(str(named)) if named else imagenet_file(case.model)
        return None if scratch else file
    if scratch:
        return None
    if workspace.artefact is None:
        raise Unsupported(workspace.untrained or "the training on the other classes gave no weights")
    return workspace.artefact


def _classes_before(case: Case, workspace: Workspace) -> int:
    """Number of outputs of the network before its new head."""
    if case.option("source") == "imagenet":
        return IMAGENET_CLASSES
    options = tuple((name, 1 if name == "half" else value) for name, value in case.options)
    return len(dataset_for(replace(case, options=options), workspace).classes)


def _network(case: Case, before: int, classes: int, weights: Path | None) -> nn.Module:
    """Build the network with ``before`` outputs, load the weights, and put a new head of ``classes`` on it."""
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
    """Build note 2's head: 25088 to 4096 to 4096 to the classes, ReLU and dropout of one half between."""
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
"""Functions by network: each puts a new head of so many classes on it and returns the name of that module."""


def replace_head(network: nn.Module, model: str, classes: int) -> str:
    """Put a new head on ``network``, drawn from torch's global generator. Returns the name of its module.

    Raises:
        InputError: ``model`` is not in ``HEADS``.
    """
    if model not in HEADS:
        raise InputError(f"the head of '{model}' is not known: transfer takes {', '.join(HEADS)}")
    return HEADS[model](network, classes)


def freeze_all_but(network: nn.Module, head: str) -> None:
    """Freeze all weights but those of the module ``head``, and keep frozen modules in evaluation mode.

    In training mode batch norm would update its statistics by the new images, and dropout would be on.
    """
    for name, child in network.named_children():
        if name != head:
            child.requires_grad_(False)
            child.eval()
            child.train = types.MethodType(_stay, child)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def run_ablation(case: Case, workspace: Workspace) -> Measurement:
    """Train the variant of ``case.model`` that options ``question`` and ``variant`` name, by the recipe of the case.

    Raises:
        InputError: there is no such question or variant.
    """
    dataset = dataset_for(case, workspace)
    network = initialised(case, lambda: _variant_of(case, dataset), dataset)
    return measured(case, workspace, dataset, network)


def _variant_of(case: Case, dataset: ImageDataset) -> nn.Module:
    question, name = str(case.option("question")), str(case.option("variant"))
    if question not in ABLATIONS or name not in ABLATIONS[question]:
        raise InputError(f"there is no variant '{name}' of '{question}'; questions are {', '.join(ABLATIONS)}")
    variant = ABLATIONS[question][name]
    network = models.classifier(variant.model, case.image_size).build(len(dataset.classes))
    return variant.apply(network)


def run_speedrun(case: Case, workspace: Workspace) -> Measurement:
    """Train as ``training`` does and read the test set after each epoch; option ``target`` is a fraction of 1.

    The images lie on the device and everything is compiled before the clock starts; it stands still while the test set
    is read. An epoch is the grain: the seconds are those of all epochs up to the first that reaches the target.
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
