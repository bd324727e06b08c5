"""Inference of a classifier: latency, throughput, memory and accuracy, each in a pass of its own."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.budgets import BUDGETS, Sampling
from bench.data.pipelines import evaluation_batches
from bench.experiments.modes import compiled, graph_breaks, prepare_mode
from bench.experiments.subject import Subject, batch_of, load_subject
from bench.measure import clock, flags, memory, quality
from bench.measure.state import Watch
from bench.records import Case, Cold, Figure, Measurement, Quality, Scalar, digest_of, to_json
from bench.train.evaluate import check_logits
from bench.workspace import Workspace

SMALLEST_JUDGING_BATCH = 32
"""Accuracy is judged in batches of at least this many images: ten thousand calls with one image each take minutes."""
JUDGING_BATCH = 100
TIMING_OPTIONS = ("max_seconds", "min_samples")
"""Options of a case that change how long it is timed, and nothing of what it predicts."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time ``case`` and judge its predictions.

    Raises:
        InputError: weights or network cannot be used.
        Unsupported: this machine cannot run the case's mode.
    """
    subject = load_subject(case, workspace)
    network = prepare_mode(subject.network, case, workspace)
    images = batch_of(subject, case)

    def step() -> Tensor:
        output: Tensor = network(images)
        return output

    with torch.inference_mode():
        first_seconds = _first_step(step, case, subject)
        clock.warm_up(step, subject.device)
        watch = Watch(subject.device)
        watch()
        latencies = clock.latencies(step, subject.device, _rule(case), watch)
        typical = statistics.median(latencies.seconds)
        blocks = clock.blocks(step, subject.device, typical)
        peaks = [*subject.peaks, *memory.steady_peaks(step, subject.device)]
        breaks = graph_breaks()
        judged = _judge(network, subject, case, workspace)
    compile_seconds = max(0.0, first_seconds - typical) if case.mode == "compiled" else None
    return Measurement(
        case=case,
        seconds=latencies.seconds,
        device_seconds=latencies.device_seconds,
        items_per_step=case.batch_size,
        cold=Cold(load=subject.load_seconds, compile=compile_seconds, first_step=first_seconds),
        weight_bytes=memory.weight_bytes(subject.network),
        serialized_bytes=memory.serialized_bytes(subject.network),
        peaks=tuple(peaks),
        quality=judged,
        flags=flags.current(),
        device_state=tuple(watch.states),
        figures=_figures(subject, images, latencies, blocks, breaks if case.mode == "compiled" else None),
        series={"block_seconds": blocks.seconds},
        artefact=workspace.artefact.name if workspace.artefact else None,
        absent=_absent(subject, watch),
    )


def _rule(case: Case) -> Sampling:
    """The budget's stopping rule, with what the command line changed of it."""
    rule = BUDGETS[case.budget].sampling
    changed = {name: case.option(name) for name in TIMING_OPTIONS if case.option(name) is not None}
    return dataclasses.replace(rule, **changed)  # type: ignore[arg-type]  # checked by pytest-benchmark's own options


def _first_step(step: Callable[[], Tensor], case: Case, subject: Subject) -> float:
    """Seconds of the very first call, compilation included; its output is checked once."""
    clock.synchronize(subject.device)
    begin = time.perf_counter()
    output = step()
    clock.synchronize(subject.device)
    seconds = time.perf_counter() - begin
    check_logits(output, case.model, images=case.batch_size, classes=len(subject.dataset.classes))
    return seconds


def _figures(
    subject: Subject, images: Tensor, latencies: clock.Latencies, blocks: clock.Blocks, breaks: int | None
) -> dict[str, Figure]:
    per_second = blocks.steps * len(images) / statistics.median(blocks.seconds)
    parameters = sum(parameter.numel() for parameter in subject.network.parameters())
    figures = {
        "throughput": Figure(value=per_second, unit="images/s", better="higher"),
        "steps_per_block": Figure(value=blocks.steps, unit="steps"),
        "criterion_met": Figure(value=float(latencies.criterion_met), unit="yes=1"),
        "parameters": Figure(value=parameters, unit="parameters", exact=True),
        "flops_per_image": Figure(value=flops(subject.network, images[:1]), unit="FLOP", exact=True),
    }
    if breaks is not None:
        figures["graph_breaks"] = Figure(value=breaks, unit="breaks", better="lower", exact=True)
    return figures


def flops(network: nn.Module, image: Tensor) -> int:
    """FLOPs of one image (1, 3, H, W), counted by torch: two for each multiply-add of convolutions and products."""
    with FlopCounterMode(display=False) as counter:
        network(image)
    return int(counter.get_total_flops())


def _judge(network: nn.Module, subject: Subject, case: Case, workspace: Workspace) -> Quality | None:
    """Accuracy on the test set. Labels are predicted once for each weights, precision and mode, then read again."""
    if subject.weights is None:
        return None
    limit = case.option("test_images")
    labels = subject.dataset.test.labels[: int(limit) if limit else None]
    name = _predictions_name(subject, case, len(labels), workspace.fingerprint)
    predicted = quality.read_predictions(workspace.predictions, name)
    if predicted is None:
        predicted = _predict(network, subject, case, len(labels))
    stored = quality.keep_predictions(predicted, workspace.predictions, name)
    return quality.accuracy(predicted, np.asarray(labels), stored)


def _predictions_name(subject: Subject, case: Case, count: int, run: str) -> str:
    """Hash of all that shapes predictions: not the batch size, nor how they are timed."""
    shaping = dataclasses.replace(case, batch_size=1, repeat=0, options=tuple(_without_timing(case)))
    return digest_of({"case": to_json(shaping), "weights": subject.weights, "images": count, "run": run})


def _without_timing(case: Case) -> Iterator[tuple[str, Scalar]]:
    return (pair for pair in case.options if pair[0] not in TIMING_OPTIONS)


def _predict(network: nn.Module, subject: Subject, case: Case, count: int) -> quality.Labels:
    """Labels (count,) predicted for the first ``count`` test images, in full batches: no shape but one is compiled."""
    size = case.batch_size
    if size < SMALLEST_JUDGING_BATCH:
        size = JUDGING_BATCH
        network = compiled(subject.network) if case.mode == "compiled" else network
    rows = np.resize(np.arange(count), -(-count // size) * size)
    batches = evaluation_batches(
        subject.dataset.test,
        normalize=subject.normalize,
        image_size=case.image_size,
        batch_size=size,
        device=subject.device,
        indices=rows,
    )
    labels: quality.Labels = torch.cat([network(images).argmax(1) for images, _ in batches]).cpu().numpy()[:count]
    return labels


def _absent(subject: Subject, watch: Watch) -> dict[str, str]:
    reasons = {
        "quality": subject.untrained,
        "device_seconds": None if subject.device.type == "cuda" else "on a CPU the wall time is the device time",
        "peaks": memory.why_absent(subject.device),
        "device_state": watch.why_absent,
        "energy_joules_per_item": "no energy counter is read yet",
    }
    return {name: reason for name, reason in reasons.items() if reason}
