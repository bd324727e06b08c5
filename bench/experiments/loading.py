"""Speed of loading images, by the notes' loader with a number of workers or from tensors, alone or with a step."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bench.core.artefacts import recipe_of
from bench.core.experiments import sampling_of
from bench.core.recipes import RECIPES, Recipe
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.subject import build
from bench.experiments.training import dataset_for, initialised
from bench.measure import clock, machine
from bench.measure.state import Watch
from bench.train.step import Step, optimizer_of, settings_of
from bench.train.training import Batches, feed_of

ALONE = "none"
"""Model name of a case without a training step."""
RANDOM_SHAPE = (3, 32, 32)
Passes = Callable[[int], Batches]


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time whole passes over ``items`` items, the start of the workers included, as in the notes' loops.

    Options of the case: ``items``; ``source``, which is ``images`` (the data set, augmented by the recipe) or
    ``random`` (random float tensors, unchanged, as in note 3); ``workers`` of the loader.
    """
    device = torch.device(case.device)
    passes = _random_passes(case, device) if case.option("source") == "random" else _image_passes(case, workspace)
    step = _step(case, workspace) if case.model != ALONE else None
    numbers = count()
    watch = Watch(device)
    first = _pass(passes(next(numbers)), step, device)
    samples = clock.until(lambda: _pass(passes(next(numbers)), step, device), sampling_of(case), watch)
    watch.last()
    items = int(case.option("items") or 0)
    rate = items / statistics.median(samples.seconds)
    return Measurement(
        case=case,
        seconds=samples.seconds,
        items_per_step=items,
        flags=machine.current_flags(),
        device_state=tuple(watch.states),
        figures={
            "items_per_second": Figure(value=rate, unit="items/s", better="higher"),
            "first_pass_seconds": Figure(value=first, unit="s", better="lower"),
            "criterion_met": Figure(value=float(samples.criterion_met), unit="yes=1"),
        },
        absent={
            "device_seconds": "a pass is timed by the wall clock",
            "weight_bytes": "loading has no weights",
            "serialized_bytes": "loading has no weights",
            "peaks": "workers are other processes, whose memory is not counted here",
            "coverage": "nothing is quantised",
            "quality": "nothing is learnt",
            "energy_joules_per_item": "not measured while loading",
        },
    )


def _pass(batches: Iterable[tuple[Tensor, Tensor]], step: Step | None, device: torch.device) -> float:
    begin = clock.now(device)
    for images, labels in batches:
        if step:
            step(images, labels)
    return clock.now(device) - begin


def _image_passes(case: Case, workspace: Workspace) -> Passes:
    """The first ``items`` training images, again from the first where there are fewer."""
    dataset = dataset_for(case, workspace)
    indices = np.resize(np.arange(len(dataset.train.labels)), int(case.option("items") or 0))
    feed = feed_of(
        dataset,
        _recipe(case),
        settings_of(case),
        image_size=case.image_size,
        device=torch.device(case.device),
        seed=case.seed,
    )
    return lambda number: feed(indices, number)


def _random_passes(case: Case, device: torch.device) -> Passes:
    items, settings, size = int(case.option("items") or 0), settings_of(case), case.batch_size
    generator = torch.Generator().manual_seed(case.seed)
    images = torch.randn(items, *RANDOM_SHAPE, generator=generator)
    labels = torch.randint(10, (items,), generator=generator)
    if settings.pipeline == "tensor":
        images, labels = images.to(device), labels.to(device)

        def from_tensors(number: int) -> Iterator[tuple[Tensor, Tensor]]:
            order = torch.randperm(items, generator=generator).to(device)
            return ((images[rows], labels[rows]) for rows in torch.split(order, size))

        return from_tensors
    loader = DataLoader(TensorDataset(images, labels), size, shuffle=True, num_workers=settings.workers or 0)
    return lambda number: ((some.to(device), others.to(device)) for some, others in loader)


def _recipe(case: Case) -> Recipe:
    return recipe_of(case) if case.model != ALONE else RECIPES[str(case.recipe)]


def _step(case: Case, workspace: Workspace) -> Step:
    dataset, settings = dataset_for(case, workspace), settings_of(case)
    network = initialised(case, lambda: build(case, dataset), dataset)
    network.train()
    return Step(
        name=case.model,
        network=network,
        optimizer=optimizer_of(network, recipe_of(case), settings),
        recipe=recipe_of(case),
        settings=settings,
        device=torch.device(case.device),
        classes=len(dataset.classes),
    )
