"""Inference of a classifier: latency, throughput, memory and quality, each measured in a pass of its own.

Quality: accuracy, calibration, and distance from the reference route's outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bench.core.experiments import SAMPLING_OPTIONS
from bench.core.precisions import BASELINE, COMPILED_MODES
from bench.core.records import Case, Cold, Divergence, Figure, Measurement, Peak, Quality, digest_of, to_json
from bench.core.runtimes import REASON_KEY, REFERENCE, Reason
from bench.core.turns import TWIN, reference_of
from bench.core.workspace import Workspace
from bench.data.pipelines import evaluation_batches
from bench.experiments.modes import bits_of, precision_of
from bench.experiments.reference import RANDOM
from bench.experiments.subject import Subject, batch_of, load_subject, reference_network, words_of
from bench.experiments.timing import Timed, fewest_bytes, timed
from bench.measure import machine, memory, quality
from bench.measure.machine import tf32_off
from bench.measure.reasons import memory_rate, reason_of
from bench.measure.trace import traced
from bench.runtimes.route import Ran, Run, held_of_files
from bench.train.evaluate import check_logits

CHANCE_ERRORS = 2
"""Standard errors above guessing within which accuracy counts as guessing."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time the network of ``case`` and judge its predictions.

    Raises:
        InputError: weights or network cannot be used.
        Unsupported: this machine cannot run the case's precision or mode, or the network cannot be converted.
    """
    if case.runtime == REFERENCE:
        return _measured(case, workspace, tuple)
    unknown: dict[str, str] = {}
    with memory.apart(lambda: held_of_files(case, workspace)) as ask:

        def resident() -> tuple[Peak, ...]:
            held = ask()
            if isinstance(held, str):
                unknown["peaks.model_resident"] = held
                return ()
            return (Peak(phase="steady", kind="model_resident", bytes=held.last),)

        found = _measured(case, workspace, resident)
    return replace(found, absent={**found.absent, **unknown})


def _measured(case: Case, workspace: Workspace, apart: Callable[[], tuple[Peak, ...]]) -> Measurement:
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
        times = timed(step, case, check=check, throughput=True, turns=workspace.turns, apart=apart)
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
        texts={**({REASON_KEY: str(reason)} if reason else {}), **route.texts()},
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


SMALLEST_JUDGING_BATCH = 32
"""Accuracy is judged in batches of at least this many images: ten thousand calls with one image each take minutes."""
JUDGING_BATCH = 100
NOT_SHAPING = (*SAMPLING_OPTIONS, TWIN)
"""Options of a case that change nothing of what it computes."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """``quality`` is None for a network without trained weights, or with classes that are not the data set's."""

    quality: Quality | None = None
    divergence: Divergence | None = None
    """On crops of photographs, where the test set has no class that the network knows."""
    absent: dict[str, str] = field(default_factory=dict)


def judge(subject: Subject, case: Case, workspace: Workspace) -> Judged:
    """Judge a route on the test set.

    Outputs are kept, so that they are computed once for each weights, runtime, precision and mode.
    """
    if subject.weights is None:
        return Judged(absent={"quality": subject.untrained or "no trained weights"})
    if subject.photographs is not None:
        return _compared(subject, subject.photographs, case, workspace)
    limit = case.option("test_images")
    labels = np.asarray(subject.dataset.test.labels[: int(limit) if limit else None])
    absent: dict[str, str] = {}
    logits, name, unkept = _outputs(subject, case, workspace, len(labels))
    predicted: quality.Labels = logits.argmax(axis=1)
    stored = None
    try:
        stored = None if subject.random else quality.keep_predictions(predicted, workspace.predictions, name)
    except OSError as error:
        unkept = error.strerror or str(error)
    if subject.random:
        absent |= {"predictions": RANDOM, "divergence": RANDOM}
    elif unkept:
        absent["predictions"] = f"predicted labels could not be written: {unkept}"
    distance = None
    if case == reference_of(case):
        absent["divergence"] = "this is the reference route"
    elif not subject.random:
        distance = _distance(subject, case, workspace, logits, len(labels))
    judged = labels[: len(logits)]
    found = replace(
        quality.accuracy(predicted, judged, stored),
        divergence=distance,
        calibration_error=quality.calibration_error(logits, judged),
    )
    return Judged(quality=found, absent=absent)


def _compared(subject: Subject, images: torch.Tensor, case: Case, workspace: Workspace) -> Judged:
    """Distance from the reference's outputs for ``images`` that nothing judges: crops of photographs."""
    absent = {"quality": str(subject.columns.why_not_judged)}
    if case == reference_of(case):
        return Judged(absent={**absent, "divergence": "this is the reference route"})
    reference = reference_network(reference_of(case), workspace)
    size = case.batch_size
    rows = np.resize(np.arange(len(images)), -(-len(images) // size) * size)

    def outputs(run: Run, dtype: torch.dtype) -> quality.Logits:
        batches = (images[rows[start : start + size]] for start in range(0, len(rows), size))
        found = [run(batch.to(subject.device, dtype)).float().cpu().clone() for batch in batches]
        logits: quality.Logits = torch.cat(found)[: len(images)].numpy()
        return logits

    expected, found = outputs(reference, torch.float32), outputs(subject.route.run, subject.route.input_dtype)
    return Judged(divergence=quality.divergence(expected, found), absent=absent)


def _distance(subject: Subject, case: Case, workspace: Workspace, logits: quality.Logits, count: int) -> Divergence:
    """Divergence from the reference over the images that both were given: seconds may have ended either early."""
    expected = _reference_outputs(subject, case, workspace, count)
    both = min(len(expected), len(logits))
    return quality.divergence(expected[:both], logits[:both])


def _reference_outputs(subject: Subject, case: Case, workspace: Workspace, count: int) -> quality.Logits:
    """Logits of the reference on the first test images: as it left them, else computed here, in float32 and eager."""
    reference = reference_of(case)
    name = _name(subject, reference, count, workspace.fingerprint)
    logits = quality.read_logits(workspace.predictions, name)
    if logits is None:
        network = reference_network(reference, workspace)
        with tf32_off():  # the process of a TF32 row has it on
            logits = _predict(network, subject, reference, count, dtype=torch.float32)
        _keep(logits, workspace, name)
    return logits


def _outputs(subject: Subject, case: Case, workspace: Workspace, count: int) -> tuple[quality.Logits, str, str | None]:
    """Logits of the route, the name that they are kept under, and why they could not be kept, if so."""
    name = _name(subject, case, count, workspace.fingerprint)
    logits = quality.read_logits(workspace.predictions, name)
    if logits is not None:
        return logits, name, None
    run = subject.route.for_batch(_judging_batch(case))
    logits = _predict(run, subject, case, count, dtype=subject.route.input_dtype)
    return logits, name, _keep(logits, workspace, name)


def _keep(logits: quality.Logits, workspace: Workspace, name: str) -> str | None:
    """Reason if the logits could not be written: a full disk costs no row."""
    try:
        quality.keep_logits(logits, workspace.predictions, name)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _name(subject: Subject, case: Case, count: int, run: str) -> str:
    """Hash of all that shapes outputs: not the batch size, nor how they are timed."""
    options = tuple(pair for pair in case.options if pair[0] not in NOT_SHAPING)
    shaping = replace(case, batch_size=1, repeat=0, options=options)
    return digest_of({"case": to_json(shaping), "weights": subject.weights, "images": count, "run": run})


def _judging_batch(case: Case) -> int:
    return JUDGING_BATCH if case.batch_size < SMALLEST_JUDGING_BATCH else case.batch_size


def _predict(run: Run, subject: Subject, case: Case, count: int, *, dtype: torch.dtype) -> quality.Logits:
    """Logits of the first ``count`` test images, or of as many as the case's seconds allow.

    Batches are full, so that no shape but one is compiled.
    """
    size = _judging_batch(case)
    batches = evaluation_batches(
        subject.dataset.test,
        normalize=subject.normalize,
        image_size=case.image_size,
        batch_size=size,
        device=subject.device,
        indices=np.resize(np.arange(count), -(-count // size) * size),
    )
    limit = case.option("judging_seconds")
    begin = 0.0
    outputs = []
    for images, _ in batches:
        logits = subject.columns.of(run(images.to(dtype)))
        outputs.append(logits.float().cpu().clone())  # a runtime may write its next outputs over these
        begin = begin or time.perf_counter()  # after the first batch, for which a network may be compiled
        if limit is not None and time.perf_counter() - begin > float(limit):
            break
    found: quality.Logits = torch.cat(outputs)[:count].numpy()
    return found
