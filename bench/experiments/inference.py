"""Inference of a classifier: latency, throughput, memory and accuracy, each measured in a pass of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.core.precisions import BASELINE, COMPILED_MODES
from bench.core.reasons import TEXT, Reason
from bench.core.records import Case, Cold, Figure, Measurement, Quality
from bench.core.workspace import Workspace
from bench.experiments.conversion import bits_of, precision_of
from bench.experiments.judging import judge
from bench.experiments.subject import Subject, batch_of, load_subject, words_of
from bench.experiments.timing import Timed, fewest_bytes, timed
from bench.measure import machine
from bench.measure.reasons import memory_rate, reason_of
from bench.measure.trace import traced
from bench.runtimes.route import Ran
from bench.train.evaluate import check_logits

CHANCE_ERRORS = 2
"""Standard errors above guessing within which accuracy counts as guessing."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time the network of ``case`` and judge its predictions.

    Raises:
        InputError: weights or network cannot be used.
        Unsupported: this machine cannot run the case's precision or mode, or the network cannot be converted.
    """
    precision = precision_of(case)
    subject = load_subject(case, workspace)
    route = subject.route
    route.start()
    images = batch_of(subject, case)
    fewest = subject.columns.fewest(len(subject.dataset.classes))

    def step() -> Tensor:
        return route.run(images)

    def check(output: Tensor) -> None:
        check_logits(output, case.model, images=case.batch_size, classes=fewest)

    with torch.inference_mode():
        times = timed(step, case, check=check, throughput=True, turns=workspace.turns)
        own = route.figures()
        flops = subject.flops_per_image * case.batch_size
        ran = _sure(route.ran(images, parameters=subject.parameters, flops=flops), subject.flops_doubtful)
        reason = _reason(subject, images, times)
        judged = judge(subject, case, workspace)
    weights = route.weight_bytes()
    measurement = Measurement(
        case=case,
        seconds=times.latencies.seconds,
        device_seconds=times.latencies.device_seconds,
        items_per_step=case.batch_size,
        cold=_cold(subject, case, times),
        weight_bytes=weights,
        serialized_bytes=route.serialized_bytes(),
        peaks=(*subject.peaks, *times.peaks),
        coverage=ran.coverage,
        quality=judged.quality,
        divergence=judged.divergence,
        energy_joules_per_item=times.energy(case.batch_size),
        flags={
            **machine.current_flags(),
            "compute": ran.compute,
            "normalize": words_of(subject.normalize),
            **route.flags(),
        },
        device_state=tuple(times.watch.states),
        figures={
            **times.figures(case.batch_size),
            "bytes_per_step": fewest_bytes(weights, images, times.output),
            **_counts(subject),
            **own,
            **bits_of(precision),
        },
        series=times.series,
        texts={TEXT: str(reason)} if reason else {},
        artefact=workspace.artefact.name if workspace.artefact else None,
        weights_sha256=subject.weights,
        absent={
            **ran.absent,
            **times.absent(subject.device),
            **judged.absent,
            **({"flops_per_image": subject.flops_doubtful} if subject.flops_doubtful else {}),
        },
        notes=(*subject.notes, *route.notes, *_surprises(subject, ran, judged.quality, case)),
    )
    with torch.inference_mode():
        return traced(measurement, workspace, step)


def _sure(ran: Ran, doubtful: str | None) -> Ran:
    """``ran`` without shares of FLOPs, if there is a reason to doubt the FLOPs."""
    if doubtful is None or ran.coverage is None:
        return ran
    absent = {**ran.absent, "coverage FLOPs": doubtful}
    return replace(ran, coverage=replace(ran.coverage, quantized_flops=None), absent=absent)


def _reason(subject: Subject, images: Tensor, times: Timed) -> Reason | None:
    """Where the step's time goes; None where the route tells no operators."""
    route = subject.route
    parts = route.parts(images)
    if not parts:
        return None
    return reason_of(
        parts,
        times.typical,
        weight_bytes=route.weight_bytes(),
        bytes_per_second=memory_rate(subject.device),
    )


def _cold(subject: Subject, case: Case, times: Timed) -> Cold:
    """A compiled network of torch's is compiled in its first call; other runtimes do it before that."""
    route = subject.route
    compiling = max(0.0, times.first_seconds - times.typical) if case.mode in COMPILED_MODES else route.compile_seconds
    return Cold(
        load=subject.load_seconds,
        convert=route.convert_seconds,
        compile=compiling,
        first_step=times.first_seconds,
    )


def _counts(subject: Subject) -> dict[str, Figure]:
    figures = {"parameters": Figure(value=subject.parameters, unit="parameters", exact=True)}
    if subject.flops_doubtful is None:
        figures["flops_per_image"] = Figure(value=subject.flops_per_image, unit="FLOP", exact=True)
    return figures


def _surprises(subject: Subject, ran: Ran, judged: Quality | None, case: Case) -> tuple[str, ...]:
    """Notes on arithmetic other than the row's precision, and on accuracy that no trained network has."""
    notes = []
    if case.precision == BASELINE and ran.compute not in (None, "float32"):
        notes.append(f"this row is {BASELINE}, and most of it ran in {ran.compute}: the network rounds by itself")
    chance = 1 / len(subject.dataset.classes)
    if judged is not None and judged.value <= chance + CHANCE_ERRORS * judged.standard_error:
        notes.append(
            f"accuracy is that of guessing: are the weights those of this network, are its classes in this order, and "
            f"is {words_of(subject.normalize)} the normalisation that it was trained with?"
        )
    return tuple(notes)
