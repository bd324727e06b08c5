"""Quality of a route of a classifier: accuracy, calibration, and distance from the reference route's outputs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bench.core.experiments import SAMPLING_OPTIONS
from bench.core.precisions import BASELINE
from bench.core.records import Case, Divergence, Quality, digest_of, to_json
from bench.core.runtimes import REFERENCE
from bench.core.workspace import Workspace
from bench.data.pipelines import evaluation_batches
from bench.experiments.subject import Subject, reference_network
from bench.measure import quality
from bench.measure.machine import tf32_off
from bench.runtimes.route import Run

SMALLEST_JUDGING_BATCH = 32
"""Accuracy is judged in batches of at least this many images: ten thousand calls with one image each take minutes."""
JUDGING_BATCH = 100
NOT_SHAPING = (*SAMPLING_OPTIONS, "twin")
"""Options of a case that change nothing of what it computes."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """``quality`` is None for a network without trained weights."""

    quality: Quality | None = None
    absent: dict[str, str] = field(default_factory=dict)


def judge(subject: Subject, case: Case, workspace: Workspace) -> Judged:
    """Judge a route on the test set.

    Outputs are kept, so that they are computed once for each weights, runtime, precision and mode.
    """
    if subject.weights is None:
        return Judged(absent={"quality": subject.untrained or "no trained weights"})
    limit = case.option("test_images")
    labels = np.asarray(subject.dataset.test.labels[: int(limit) if limit else None])
    absent = {}
    logits, name, unkept = _outputs(subject, case, workspace, len(labels))
    predicted: quality.Labels = logits.argmax(axis=1)
    stored = None
    try:
        stored = quality.keep_predictions(predicted, workspace.predictions, name)
    except OSError as error:
        unkept = error.strerror or str(error)
    if unkept:
        absent["predictions"] = f"predicted labels could not be written: {unkept}"
    distance = None
    if _is_reference(case):
        absent["divergence"] = "this is the reference route"
    else:
        distance = _distance(subject, case, workspace, logits, len(labels))
    judged = labels[: len(logits)]
    found = replace(
        quality.accuracy(predicted, judged, stored),
        divergence=distance,
        calibration_error=quality.calibration_error(logits, judged),
    )
    return Judged(quality=found, absent=absent)


def _is_reference(case: Case) -> bool:
    return case == _reference(case) and not case.option("twin")


def _reference(case: Case) -> Case:
    """The route that others are compared with, on the same images."""
    return replace(case, runtime=REFERENCE, precision=BASELINE, mode="eager")


def _distance(subject: Subject, case: Case, workspace: Workspace, logits: quality.Logits, count: int) -> Divergence:
    """Divergence from the reference over the images that both were given: seconds may have ended either early."""
    expected = _reference_outputs(subject, case, workspace, count)
    both = min(len(expected), len(logits))
    return quality.divergence(expected[:both], logits[:both])


def _reference_outputs(subject: Subject, case: Case, workspace: Workspace, count: int) -> quality.Logits:
    """Logits of the reference on the first test images: as it left them, else computed here, in float32 and eager."""
    reference = _reference(case)
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
        outputs.append(run(images.to(dtype)).float().cpu().clone())  # a runtime may write its next outputs over these
        begin = begin or time.perf_counter()  # after the first batch, for which a network may be compiled
        if limit is not None and time.perf_counter() - begin > float(limit):
            break
    logits: quality.Logits = torch.cat(outputs)[:count].numpy()
    return logits
