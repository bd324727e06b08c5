"""Accuracy with its standard error, and predicted labels kept so that two rows can be paired."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
        OSError: the disk does not take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.txt"
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w") as file:
            file.write(pack(predicted.tolist()))
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave the name without what it stands for
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return Predictions(path=f"{folder.name}/{path.name}", sha256=digest(predicted.tolist()))


def read_predictions(folder: Path, name: str) -> Labels | None:
    """Labels that ``keep_predictions`` wrote, None if there are none or a power cut left the file damaged."""
    try:
        labels = unpack((folder / f"{name}.txt").read_text())
    except (OSError, ValueError):
        return None
    return np.array(labels, dtype=np.int64) if labels else None
