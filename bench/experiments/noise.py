"""The same thing once more: two rows, A and B, that differ in nothing but their letter. Whatever tells them apart is
noise of this machine."""

from __future__ import annotations

import torch
from torch import Tensor

import models
from bench.core.records import Case, Cold, Measurement
from bench.core.workspace import Workspace
from bench.experiments.timing import timed
from bench.measure import machine, memory

NOT_OF_NOISE = {
    "coverage": "nothing is converted",
    "quality": "random weights",
    "serialized_bytes": "random weights are not stored",
}


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time a network with random weights on random images, as inference times it."""
    device = torch.device(case.device)
    torch.manual_seed(case.seed)
    network = models.classifier(case.model).build().eval().to(device)
    images = torch.randn(case.batch_size, 3, case.image_size, case.image_size, device=device)

    def step() -> Tensor:
        output: Tensor = network(images)
        return output

    with torch.inference_mode():
        times = timed(step, case, throughput=False)
    return Measurement(
        case=case,
        seconds=times.latencies.seconds,
        device_seconds=times.latencies.device_seconds,
        items_per_step=case.batch_size,
        cold=Cold(first_step=times.first_seconds),
        weight_bytes=memory.weight_bytes(network),
        peaks=times.peaks,
        flags={**machine.current_flags(), "compute": "float32"},
        device_state=tuple(times.watch.states),
        figures=times.figures(case.batch_size),
        absent={**times.absent(device), **NOT_OF_NOISE},
    )
