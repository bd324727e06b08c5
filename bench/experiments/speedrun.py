"""How many seconds of training until the test accuracy reaches a target, compiling and testing outside the clock."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from bench.core.artefacts import recipe_of
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.subject import build
from bench.experiments.training import dataset_for, initialised, measured
from bench.experiments.training_record import option_count
from bench.train.evaluate import evaluate_split


def run(case: Case, workspace: Workspace) -> Measurement:
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
