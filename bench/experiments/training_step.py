"""Parts of a training step and their time: loading, forward pass, backward pass, optimiser."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench.core.experiments import sampling_of
from bench.core.records import Case, Cold, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.subject import build
from bench.experiments.training import dataset_for, initialised, set_arithmetic, training_of
from bench.measure import clock, machine, memory
from bench.measure.state import Watch
from bench.measure.trace import traced
from bench.train.state import begin, compile_steps
from bench.train.step import Step
from bench.train.training import Feed, Training, split_indices

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
    flops = _flops(case, lambda: build(case, dataset), len(dataset.classes))
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
    samples = clock.until(timed, sampling_of(case), watch)
    watch.last()
    batch = next(timed.batches)
    measurement = Measurement(
        case=case,
        seconds=samples.seconds,
        items_per_step=training.recipe.batch_size,
        cold=Cold(compile=compiling),
        weight_bytes=memory.weight_bytes(network),
        peaks=tuple(memory.steady_peaks(lambda: state.step(*batch), device)),
        flags=machine.current_flags(),
        device_state=tuple(watch.states),
        figures=_figures(samples, timed, training.recipe.batch_size, flops),
        series={f"{part}_seconds": tuple(values) for part, values in timed.seconds.items()},
        absent=_absent(device),
    )
    return traced(measurement, workspace, timed)


def _whole_batches(training: Training, feed: Feed) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches, without the smaller ones at the end of an epoch."""
    indices, _ = split_indices(training.recipe, training.dataset)
    for epoch in count():
        for images, labels in feed(indices, epoch):
            if len(labels) == training.recipe.batch_size:
                yield images, labels


def _flops(case: Case, build_one: Callable[[], nn.Module], classes: int) -> int:
    """FLOPs of forward and backward pass of one image, two for each multiply-add, counted on two images."""
    network = build_one().train()
    images = torch.zeros(2, 3, case.image_size, case.image_size)
    with FlopCounterMode(display=False) as counter:
        functional.cross_entropy(network(images), torch.zeros(2, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops() // 2)


def _figures(samples: clock.Samples, timed: Parts, batch_size: int, flops: int) -> dict[str, Figure]:
    whole = statistics.median(samples.seconds)
    loading = statistics.median(timed.seconds["loading"])
    return {
        "images_per_second": Figure(value=batch_size / whole, unit="images/s", better="higher"),
        "loading_share": Figure(value=loading / whole, unit="fraction", better="lower"),
        "flops_per_step": Figure(value=flops * batch_size, unit="FLOPs", exact=True),
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
