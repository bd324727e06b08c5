"""Accuracy and its error; labels written and read again."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.measure import quality


def test_accuracy_and_its_binomial_error() -> None:
    found = quality.accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0]))
    assert (found.metric, found.value, found.samples) == ("accuracy", 0.75, 4)
    assert found.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_labels_come_back(tmp_path: Path) -> None:
    labels = np.array([3, 1, 2])
    stored = quality.keep_predictions(labels, tmp_path / "predictions", "name")
    assert stored.path == "predictions/name.txt"
    assert (tmp_path / stored.path).is_file()
    again = quality.read_predictions(tmp_path / "predictions", "name")
    assert again is not None
    assert again.tolist() == [3, 1, 2]
    assert stored.sha256 == quality.digest(again)
    assert stored.sha256 != quality.digest(np.array([3, 1, 1]))


def test_there_may_be_none(tmp_path: Path) -> None:
    assert quality.read_predictions(tmp_path, "name") is None
