"""Quality with its standard error, accuracy or perplexity; and predicted labels, kept so that rows can be paired."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.labels import digest, pack, unpack
from bench.core.records import Predictions, Quality

Labels = npt.NDArray[np.int64]


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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.txt"
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w") as file:
            file.write(pack(predicted.tolist()))
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave an empty file of that name
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return Predictions(path=f"{folder.name}/{path.name}", sha256=digest(predicted.tolist()))


def read_predictions(folder: Path, name: str) -> Labels | None:
    """Labels that `keep_predictions` wrote; None if the file is missing or damaged."""
    try:
        labels = unpack((folder / f"{name}.txt").read_text())
    except (OSError, ValueError):
        return None
    return np.array(labels, dtype=np.int64) if labels else None


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


def nats_of(logits: Tensor, ids: Tensor, length: int, scored: int) -> float:
    """Negative log-likelihood, in nats, of the last ``scored`` of the first ``length`` tokens; the rest is padding.

    Args:
        logits: shape (tokens, vocabulary); row i predicts token i + 1.
        ids: shape (tokens,).
    """
    predicting = logits[length - scored - 1 : length - 1].float()
    return float(torch.nn.functional.cross_entropy(predicting, ids[length - scored : length], reduction="sum"))


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
