"""Accuracy with its standard error, and predicted labels kept so that two rows can be paired."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.labels import pack, unpack
from bench.records import Predictions, Quality

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
    """Write predicted labels to ``folder/name.txt``, whole or not at all. The digest is of the labels as int64."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.txt"
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(pack(predicted.tolist()))
    os.replace(partial, path)
    return Predictions(path=f"{folder.name}/{path.name}", sha256=digest(predicted))


def read_predictions(folder: Path, name: str) -> Labels | None:
    """Labels that ``keep_predictions`` wrote, None if there are none."""
    path = folder / f"{name}.txt"
    if not path.is_file():
        return None
    return np.array(unpack(path.read_text()), dtype=np.int64)


def digest(predicted: Labels) -> str:
    """SHA-256 of the labels as little-endian int64."""
    return hashlib.sha256(np.ascontiguousarray(predicted, dtype="<i8").tobytes()).hexdigest()
