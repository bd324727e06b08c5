"""Train a network with something that the notes say helps, or without it."""

from __future__ import annotations

from torch import nn

import models
from bench.core.errors import InputError
from bench.core.records import Case, Measurement
from bench.core.workspace import Workspace
from bench.data.images import ImageDataset
from bench.experiments.training import dataset_for, initialised, measured
from models.ablations import ABLATIONS


def run(case: Case, workspace: Workspace) -> Measurement:
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
