"""What an inference case times: a network with the right weights on its device, and real images to feed it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import models
from bench.data.images import ImageDataset, open_dataset
from bench.data.pipelines import Normalization, evaluation_batches
from bench.errors import InputError
from bench.measure.clock import synchronize
from bench.measure.memory import peak_of
from bench.records import Case, Peak
from bench.train.artefacts import load_weights
from bench.train.inputs import normalization
from bench.train.recipes import recipe
from bench.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network in evaluation mode on ``device``, and where its weights came from."""

    network: nn.Module
    device: torch.device
    dataset: ImageDataset
    normalize: Normalization | None
    weights: str | None
    """SHA-256 of the file of trained weights; None: the network is as it was built."""
    untrained: str | None
    """Why there are no trained weights; None if there are."""
    load_seconds: float
    peaks: list[Peak] = field(default_factory=list)


def load_subject(case: Case, workspace: Workspace) -> Subject:
    """Build the network of ``case``, load its weights and put it on the device, timed and with its peak of memory.

    Raises:
        InputError: the weights do not fit, or the network cannot be built.
    """
    dataset = dataset_of(workspace)
    device = torch.device(case.device)
    weights = given_weights(case) or workspace.artefact
    torch.manual_seed(case.seed)
    torch.zeros(1, device=device)  # makes the CUDA context, which is no part of loading
    peaks: list[Peak] = []
    with peak_of("load", device, peaks):
        begin = time.perf_counter()
        network = build(case, dataset)
        if weights:
            load_weights(weights, network)
        network = network.eval().to(device)
        synchronize(device)
        seconds = time.perf_counter() - begin
    return Subject(
        network=network,
        device=device,
        dataset=dataset,
        normalize=normalization_of(case, dataset),
        weights=_digest(weights) if weights else None,
        untrained=None if weights else workspace.untrained or _why_untrained(case),
        load_seconds=seconds,
        peaks=peaks,
    )


def build(case: Case, dataset: ImageDataset) -> nn.Module:
    """The network that ``case`` names, with as many outputs as it or the data set has classes.

    Raises:
        InputError: the factory fails, or the network does not take images of that size.
    """
    classes = case.option("classes") or len(dataset.classes)
    try:
        return models.classifier(case.model, case.image_size).build(int(classes))
    except models.ModelError as error:
        raise InputError(str(error)) from error


def given_weights(case: Case) -> Path | None:
    """The user's own weights, if there are any."""
    given = case.option("weights")
    return Path(str(given)) if given else None


def normalization_of(case: Case, dataset: ImageDataset) -> Normalization | None:
    """What images are normalised by: as given, else by the data's statistics for a user's weights, else as trained."""
    usual = recipe(case.recipe).normalize if case.recipe else "computed"
    return normalization(str(case.option("normalize") or usual), dataset)


def dataset_of(workspace: Workspace) -> ImageDataset:
    """The data set that was decoded before any case ran."""
    if workspace.decoded is None:
        raise RuntimeError("prepare the data set first")
    return open_dataset(workspace.decoded)


def batch_of(subject: Subject, case: Case) -> Tensor:
    """Real test images (batch_size, 3, image_size, image_size), normalised, repeated if there are too few."""
    rows = np.resize(np.arange(len(subject.dataset.test.labels)), case.batch_size)
    images, _ = next(
        evaluation_batches(
            subject.dataset.test,
            normalize=subject.normalize,
            image_size=case.image_size,
            batch_size=case.batch_size,
            device=subject.device,
            indices=rows,
        )
    )
    return images


def _digest(weights: Path) -> str:
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_untrained(case: Case) -> str:
    own_size = models.classifier(case.model).image_size
    if case.image_size != own_size:
        return f"not trained at {case.image_size} pixels"
    return f"not trained in budget {case.budget}"
