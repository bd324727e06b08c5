"""Parts of a training step and their time: loading, forward pass, backward pass, optimiser; and loading alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bench.core.experiments import sampling_of
from bench.core.recipes import RECIPES, Recipe
from bench.core.records import Case, Cold, Figure, Measurement
from bench.core.workspace import Workspace, recipe_of
from bench.experiments.subject import build
from bench.experiments.timing import peaks_of, samples_of
from bench.experiments.training import dataset_for, initialised, set_arithmetic, training_of
from bench.measure import clock, machine, memory
from bench.measure.products import Flops, flops_of
from bench.measure.state import Watch
from bench.measure.trace import traced
from bench.train.state import begin, compile_steps
from bench.train.step import Step, optimizer_of, settings_of
from bench.train.training import Batches, Feed, Training, feed_of, split_indices

COUNTED = 2
"""Images of the step whose FLOPs are counted: batch normalisation needs more than one."""
PARTS = ("loading", "forward", "backward", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Seconds of each part of each step, the device synchronised between them."""

    step: Step
    batches: Iterator[tuple[Tensor, Tensor]]
    seconds: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})

    def __call__(self) -> float:
        """Run one step. Returns its seconds, the sum of its parts."""
        device, marks = self.step.device, [clock.now(self.step.device)]
        images, labels = next(self.batches)
        marks.append(clock.now(device))
        _, loss = self.step.forward(images, labels)
        marks.append(clock.now(device))
        self.step.backward(loss)
        marks.append(clock.now(device))
        self.step.update()
        marks.append(clock.now(device))
        for part, begun, ended in zip(PARTS, marks, marks[1:], strict=False):
            self.seconds[part].append(ended - begun)
        return marks[-1] - marks[0]


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time whole steps at the recipe's batch size, part by part, with the settings of the case.

    On a GPU the parts are synchronised one by one, so that their sum exceeds the time of a step in a training.

    Raises:
        InputError, Unsupported: as for a training.
    """
    device = torch.device(case.device)
    set_arithmetic(case, workspace)
    dataset = dataset_for(case, workspace)
    work = _flops(case, lambda: build(case, dataset), len(dataset.classes))
    network = initialised(case, lambda: build(case, dataset), dataset)
    training = training_of(case, workspace, dataset, network)
    state = begin(training)
    compiling = compile_steps(training, state)
    network.train()
    timed = Parts(step=state.step, batches=_whole_batches(training, state.feed))
    clock.warm_up(timed, device)
    for values in timed.seconds.values():
        values.clear()
    watch = Watch(device)
    samples = samples_of(lambda: (timed(),), case, workspace.turns, watch, device)
    watch.last()
    batch = next(timed.batches)
    measurement = Measurement(
        case=case,
        seconds=samples.seconds,
        items_per_step=training.recipe.batch_size,
        cold=Cold(compile=compiling),
        weight_bytes=memory.weight_bytes(network),
        peaks=peaks_of(lambda: state.step(*batch), case, device),
        flags=machine.current_flags(),
        device_state=tuple(watch.states),
        figures=_figures(samples, timed, training.recipe.batch_size, work),
        series={f"{part}_seconds": tuple(values) for part, values in timed.seconds.items()},
        absent={**_absent(device), **({"flops_per_step": work.why_doubtful} if work.why_doubtful else {})},
    )
    return traced(measurement, workspace, timed)


def _whole_batches(training: Training, feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches, without the smaller ones at the end of an epoch."""
    indices, _ = split_indices(training.recipe, training.dataset)
    for epoch in count():
        for images, labels in feed(indices, epoch):
            if len(labels) == training.recipe.batch_size:
                yield images, labels


def _flops(case: Case, build_one: Callable[[], nn.Module], classes: int) -> Flops:
    """FLOPs of forward and backward pass of ``COUNTED`` images."""
    network = build_one().train()
    images = torch.zeros(COUNTED, 3, case.image_size, case.image_size)
    labels = torch.zeros(COUNTED, dtype=torch.int64)
    return flops_of(lambda: functional.cross_entropy(network(images), labels).backward())  # type: ignore[no-untyped-call]


def _figures(samples: clock.Samples, timed: Parts, batch_size: int, work: Flops) -> dict[str, Figure]:
    whole = statistics.median(samples.seconds)
    loading = statistics.median(timed.seconds["loading"])
    flops = Figure(value=work.total // COUNTED * batch_size, unit="FLOPs", exact=True)
    return {
        "images_per_second": Figure(value=batch_size / whole, unit="images/s", better="higher"),
        "loading_share": Figure(value=loading / whole, unit="fraction", better="lower"),
        **({} if work.why_doubtful else {"flops_per_step": flops}),
        "criterion_met": Figure(value=float(samples.criterion_met), unit="yes=1"),
    }


def _absent(device: torch.device) -> dict[str, str]:
    return {
        "device_seconds": "the parts of a step are timed by the wall clock",
        "serialized_bytes": "measured by the inference of such weights",
        "coverage": "nothing is quantised in training",
        "quality": "too few steps to learn anything",
        "energy_joules_per_item": "not measured while training",
        **memory.absent_peaks(device),
    }


ALONE = "none"
"""Model name of a case without a training step."""
RANDOM_SHAPE = (3, 32, 32)
Passes = Callable[[int], Batches]


def run_loading(case: Case, workspace: Workspace) -> Measurement:
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
