"""Inference of a classifier: latency, throughput, memory and accuracy, each measured in a pass of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.experiments import SAMPLING_OPTIONS
from bench.core.precisions import BASELINE
from bench.core.records import Case, Cold, Divergence, Figure, Measurement, Quality, Scalar, digest_of, to_json
from bench.core.workspace import Workspace
from bench.data.pipelines import evaluation_batches
from bench.experiments.conversion import Ran, bits_of, precision_of, whats_converted
from bench.experiments.modes import compiled, graph_breaks, prepare_mode
from bench.experiments.reference import RANDOM, divergence
from bench.experiments.subject import Subject, batch_of, load_subject, words_of
from bench.experiments.timing import Timed, fewest_bytes, timed
from bench.measure import machine, memory, quality
from bench.measure.trace import traced
from bench.precision.converted import tensors_as_stored
from bench.train.evaluate import check_logits

SMALLEST_JUDGING_BATCH = 32
"""Smallest batch for judging accuracy, since ten thousand calls with one image each take minutes."""
JUDGING_BATCH = 100
CHANCE_ERRORS = 2
"""Standard errors above guessing within which accuracy is taken for it."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time the network of ``case`` and judge its predictions.

    Raises:
        InputError: weights or network cannot be used.
        Unsupported: this machine cannot run the case's precision or mode, or the network cannot be converted.
    """
    precision = precision_of(case)
    subject = load_subject(case, workspace)
    network = prepare_mode(subject.network, case, workspace, may_freeze=subject.converted.may_freeze)
    images = batch_of(subject, case)

    def step() -> Tensor:
        output: Tensor = network(images)
        return output

    def check(output: Tensor) -> None:
        check_logits(
            output, case.model, images=case.batch_size, classes=subject.columns.fewest(len(subject.dataset.classes))
        )

    with torch.inference_mode():
        times = timed(step, case, check=check, throughput=True)
        breaks = graph_breaks()
        ran = whats_converted(
            step,
            precision,
            subject.network,
            parameters=subject.parameters,
            flops=subject.flops_per_image * case.batch_size,
        )
        judged, unkept = _judge(network, subject, case, workspace)
        distance = _divergence(network, subject, case)
    measurement = Measurement(
        case=case,
        seconds=times.latencies.seconds,
        device_seconds=times.latencies.device_seconds,
        items_per_step=case.batch_size,
        cold=_cold(subject, case, times),
        weight_bytes=memory.bytes_of(tensors_as_stored(subject.network)),
        serialized_bytes=memory.serialized_bytes(subject.network),
        peaks=(*subject.peaks, *times.peaks),
        coverage=ran.coverage,
        quality=judged,
        divergence=distance,
        energy_joules_per_item=times.energy(case.batch_size),
        flags={
            **machine.current_flags(),
            "library": precision.library,
            "compute": ran.compute,
            "normalize": words_of(subject.normalize),
        },
        device_state=tuple(times.watch.states),
        figures={
            **times.figures(case.batch_size),
            "bytes_per_step": fewest_bytes(subject.network, images, times.output),
            **_counts(subject, breaks if case.mode == "compiled" else None),
            **bits_of(precision),
        },
        series=times.series,
        artefact=workspace.artefact.name if workspace.artefact else None,
        weights_sha256=subject.weights,
        absent={
            **ran.absent,
            **times.absent(subject.device),
            **_why_unjudged(subject),
            **({"predictions": unkept} if unkept else {}),
            **({"flops_per_image": subject.flops_doubtful} if subject.flops_doubtful else {}),
        },
        notes=(*subject.notes, *_surprises(subject, ran, judged, case)),
    )
    with torch.inference_mode():
        return traced(measurement, workspace, step)


def _cold(subject: Subject, case: Case, times: Timed) -> Cold:
    compiling = max(0.0, times.first_seconds - times.typical) if case.mode == "compiled" else None
    return Cold(
        load=subject.load_seconds,
        convert=subject.convert_seconds,
        compile=compiling,
        first_step=times.first_seconds,
    )


def _counts(subject: Subject, breaks: int | None) -> dict[str, Figure]:
    figures = {"parameters": Figure(value=subject.parameters, unit="parameters", exact=True)}
    if subject.flops_doubtful is None:
        figures["flops_per_image"] = Figure(value=subject.flops_per_image, unit="FLOP", exact=True)
    if breaks is not None:
        figures["graph_breaks"] = Figure(value=breaks, unit="breaks", better="lower", exact=True)
    return figures


def _why_unjudged(subject: Subject) -> dict[str, str]:
    reason = subject.untrained or subject.columns.why_not_judged
    return {"quality": reason} if reason else {}


def _surprises(subject: Subject, ran: Ran, judged: Quality | None, case: Case) -> tuple[str, ...]:
    """What ran otherwise than the row says, and accuracy that no trained network has."""
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


def _divergence(network: nn.Module, subject: Subject, case: Case) -> Divergence | None:
    """Distance from the unconverted network's outputs, for a pretrained one whose classes are not the data set's."""
    if subject.photographs is None or (case.precision == BASELINE and case.mode == "eager"):
        return None
    images = subject.photographs.images.to(subject.device, subject.converted.input_dtype)
    size = case.batch_size
    rows = np.resize(np.arange(len(images)), -(-len(images) // size) * size)
    outputs = torch.cat([network(images[rows[start : start + size]]) for start in range(0, len(rows), size)])
    return divergence(outputs[: len(images)].float().cpu(), subject.photographs.reference)


def _judge(network: nn.Module, subject: Subject, case: Case, workspace: Workspace) -> tuple[Quality | None, str | None]:
    """Accuracy on the test set, and the reason if its labels could not be written: a full disk costs no row.

    Labels are predicted once for each set of weights, precision and mode, then read again.
    """
    if subject.weights is None or subject.columns.why_not_judged:
        return None, None
    limit = case.option("test_images")
    labels = subject.dataset.test.labels[: int(limit) if limit else None]
    name = _predictions_name(subject, case, len(labels), workspace.fingerprint)
    predicted = quality.read_predictions(workspace.predictions, name)
    if predicted is None:
        predicted = _predict(network, subject, case, len(labels))
    stored, unkept = None, None
    if subject.random:
        return quality.accuracy(predicted, np.asarray(labels[: len(predicted)])), RANDOM
    try:
        stored = quality.keep_predictions(predicted, workspace.predictions, name)
    except OSError as error:
        unkept = f"predicted labels could not be written: {error.strerror or error}"
    return quality.accuracy(predicted, np.asarray(labels[: len(predicted)]), stored), unkept


def _predictions_name(subject: Subject, case: Case, count: int, run: str) -> str:
    """Hash of all that determines the predictions, without batch size and timing."""
    shaping = dataclasses.replace(case, batch_size=1, repeat=0, options=tuple(_without_timing(case)))
    return digest_of({"case": to_json(shaping), "weights": subject.weights, "images": count, "run": run})


def _without_timing(case: Case) -> Iterator[tuple[str, Scalar]]:
    return (pair for pair in case.options if pair[0] not in SAMPLING_OPTIONS)


def _predict(network: nn.Module, subject: Subject, case: Case, count: int) -> quality.Labels:
    """Labels predicted for the first ``count`` test images, or for as many as the case's seconds allow.

    Batches are full, so that only one shape is compiled.
    """
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
    limit = case.option("judging_seconds")
    begin = 0.0
    predicted = []
    for images, _ in batches:
        logits = subject.columns.of(network(images.to(subject.converted.input_dtype)))
        predicted.append(logits.argmax(1))
        begin = begin or time.perf_counter()  # after the first batch, for which a network may be compiled
        if limit is not None and time.perf_counter() - begin > float(limit):
            break
    labels: quality.Labels = torch.cat(predicted).cpu().numpy()[:count]
    return labels
