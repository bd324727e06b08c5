"""Quality with its standard error, accuracy or perplexity; and predicted labels, kept so that rows can be paired."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.quality import digest, pack, unpack
from bench.core.records import Divergence, Predictions, Quality

CALIBRATION_BINS = 15
"""Number of bins of confidence, of equal width (Guo et al. 2017)."""

Labels = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


def accuracy(predicted: Labels, labels: Labels, stored: Predictions | None = None) -> Quality:
    """Share of labels predicted right, with the binomial standard error sqrt(p (1 - p) / n).

    Args:
        predicted: shape (N,).
        labels: shape (N,).
    """
    samples = len(labels)
    share = float(np.mean(predicted == labels))
    error = math.sqrt(share * (1 - share) / samples)
    return Quality(metric="accuracy", value=share, standard_error=error, samples=samples, predictions=stored)


def keep_predictions(predicted: Labels, folder: Path, name: str) -> Predictions:
    """Write predicted labels to ``folder/name.txt``, whole or not at all. The digest is of the labels as int64.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / f"{name}.txt"
    with _whole(path) as file:
        file.write(pack(predicted.tolist()).encode())
    return Predictions(path=f"{folder.name}/{path.name}", sha256=digest(predicted.tolist()))


def read_predictions(folder: Path, name: str) -> Labels | None:
    """Labels that `keep_predictions` wrote; None if the file is missing or damaged."""
    try:
        labels = unpack((folder / f"{name}.txt").read_text())
    except (OSError, ValueError):
        return None
    return np.array(labels, dtype=np.int64) if labels else None


def log_probabilities(logits: npt.NDArray[Any]) -> Numbers:
    """Natural logarithms of the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    normalised: Numbers = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def divergences(reference: npt.NDArray[Any], logits: npt.NDArray[Any]) -> Numbers:
    """KL divergence of each sample from the reference, sum(p log(p / q)) in nats, with p the reference's softmax.

    Args:
        reference: logits, shape (N, classes).
        logits: of the same inputs and shape.
    """
    expected, found = log_probabilities(reference), log_probabilities(logits)
    nats: Numbers = np.maximum((np.exp(expected) * (expected - found)).sum(axis=-1), 0.0)  # rounding may give -1e-17
    return nats


def divergence(reference: npt.NDArray[Any], logits: npt.NDArray[Any]) -> Divergence:
    """Distance of outputs from the reference's on the same inputs.

    Args:
        reference: logits, shape (N, classes).
        logits: of the same inputs and shape.

    Raises:
        ValueError: fewer than two samples, or another shape.
    """
    if reference.shape != logits.shape:
        raise ValueError(f"outputs of shape {logits.shape} cannot be compared with {reference.shape}")
    same = reference.argmax(axis=-1) == logits.argmax(axis=-1)
    return summarized(divergences(reference, logits), same)


def summarized(nats: Numbers, same_top: npt.NDArray[np.bool_]) -> Divergence:
    """Mean with its standard error, 99th percentile and share of equal top classes or tokens.

    Args:
        nats: KL divergence of each sample, shape (N,).
        same_top: whether the most probable class or token is the reference's, shape (N,).

    Raises:
        ValueError: fewer than two samples.
    """
    if len(nats) < 2:
        raise ValueError("a mean divergence needs two samples or more for its standard error")
    return Divergence(
        kl_mean=float(nats.mean()),
        kl_standard_error=float(nats.std(ddof=1) / math.sqrt(len(nats))),
        kl_p99=float(np.quantile(nats, 0.99)),
        same_top=float(same_top.mean()),
        samples=len(nats),
    )


def calibration_error(logits: npt.NDArray[Any], labels: Labels) -> float:
    """Expected calibration error: mean |accuracy - confidence| over bins of confidence, weighted by their samples.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3, with 15 bins.

    Args:
        logits: shape (N, classes).
        labels: the right classes, shape (N,).
    """
    probabilities = np.exp(log_probabilities(logits))
    confidence = probabilities.max(axis=-1)
    right = logits.argmax(axis=-1) == labels
    # Bins are open below and closed above, as in the source.
    places = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def keep_logits(logits: Logits, folder: Path, name: str) -> None:
    """Write logits, shape (N, classes), to ``folder/name.npy``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with _whole(folder / f"{name}.npy") as file:
        np.save(file, logits, allow_pickle=False)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """File that gets the name ``path`` when it is on the disk; nothing is left of it after an error.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave an empty file of that name
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_logits(folder: Path, name: str) -> Logits | None:
    """Logits that `keep_logits` wrote; None if the file is missing or damaged."""
    try:
        logits: Logits = np.load(folder / f"{name}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return logits if logits.ndim == 2 and len(logits) else None


@dataclass(frozen=True, kw_only=True)
class Window:
    """Tokens ``begin`` to ``end`` of a text; the last ``scored`` of them are predicted."""

    begin: int
    end: int
    scored: int


def windows(tokens: int, context: int, stride: int) -> list[Window]:
    """Windows of up to ``context`` tokens, ``stride`` apart. No token is scored twice.

    The first token of a text has no context and is not scored; likewise the first of a window without overlap.

    Source: the sliding window of transformers' guide to perplexity.
    """
    found = []
    done = 1
    for begin in range(0, max(tokens - 1, 0), stride):
        end = min(begin + context, tokens)
        found.append(Window(begin=begin, end=end, scored=end - max(done, begin + 1)))
        done = end
        if end == tokens:
            break
    return found


def first_windows(places: Sequence[Window], tokens: int, *, least: int = 1) -> list[Window]:
    """The first of ``places`` that have ``tokens`` scored tokens together, or all of them; ``least`` at least."""
    totals = list(itertools.accumulate(window.scored for window in places))
    enough = next((number for number, total in enumerate(totals, start=1) if total >= tokens), len(places))
    return list(places[: max(least, enough)])


def nats_of(logits: Tensor, ids: Tensor, length: int, scored: int) -> list[float]:
    """Negative log-likelihood, in nats, of each of the last ``scored`` of the first ``length`` tokens.

    Args:
        logits: shape (tokens, vocabulary); row i predicts token i + 1. Rows from ``length`` on are padding.
        ids: shape (tokens,).
    """
    predicting = logits[length - scored - 1 : length - 1].float()
    nats: list[float] = torch.nn.functional.cross_entropy(
        predicting, ids[length - scored : length], reduction="none"
    ).tolist()
    return nats


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Quality:
    """exp(mean nats per token), with its standard error from the spread between windows.

    Tokens of one window are not independent, so that windows are the unit (ratio estimator, then the delta method).

    Raises:
        ValueError: fewer than two windows.
    """
    if len(nats) < 2:
        raise ValueError("perplexity needs two windows or more for its standard error")
    total = sum(tokens)
    mean = sum(nats) / total
    squares = sum((nat - mean * count) ** 2 for nat, count in zip(nats, tokens, strict=True))
    error = math.sqrt(len(nats) / (len(nats) - 1) * squares) / total
    value = math.exp(mean)
    return Quality(metric="perplexity", value=value, standard_error=value * error, samples=total)
