"""Accuracy and perplexity equal closed forms; labels are written and read again."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from bench.measure import quality
from bench.measure.quality import first_windows, nats_of, perplexity, windows


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


def test_divergence_of_two_classes_is_its_closed_form() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)."""
    reference, logits = np.log([[3.0, 1.0], [1.0, 1.0]]), np.zeros((2, 2))
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = quality.divergence(reference, logits)
    assert quality.divergences(reference, logits) == pytest.approx([expected, 0.0])
    assert found.kl_mean == pytest.approx(expected / 2)
    assert found.kl_standard_error == pytest.approx(expected / 2)  # of two samples, x and 0
    assert found.kl_p99 == pytest.approx(0.99 * expected)
    assert (found.same_top, found.samples) == (1.0, 2)


def test_divergence_equals_scipys_relative_entropy() -> None:
    generator = np.random.default_rng(0)
    reference, logits = (generator.normal(scale=3, size=(200, 10)).astype(np.float32) for _ in range(2))
    p, q = scipy.special.softmax(reference.astype(float), axis=1), scipy.special.softmax(logits.astype(float), axis=1)
    expected = scipy.stats.entropy(p, q, axis=1)
    found = quality.divergence(reference, logits)
    assert quality.divergences(reference, logits) == pytest.approx(expected)
    assert found.kl_standard_error == pytest.approx(scipy.stats.sem(expected))
    assert found.same_top == np.mean(reference.argmax(1) == logits.argmax(1))


def test_divergence_of_the_same_outputs_is_nothing_however_large_they_are() -> None:
    logits = np.array([[1e4, -1e4, 0.0], [88.0, 700.0, -3.0]], dtype=np.float32)
    found = quality.divergence(logits, logits)
    assert (found.kl_mean, found.kl_standard_error, found.kl_p99, found.same_top) == (0.0, 0.0, 0.0, 1.0)


def test_divergence_needs_the_same_samples_and_two_of_them() -> None:
    with pytest.raises(ValueError, match="shape"):
        quality.divergence(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="two samples"):
        quality.divergence(np.zeros((1, 2)), np.zeros((1, 2)))


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_samples() -> None:
    """Three images at confidence 0.8, one of them right; one at 0.55, right: (|1 - 2.4| + |1 - 0.55|) / 4."""
    chances = np.array([[0.8, 0.2]] * 3 + [[0.45, 0.55]])
    labels = np.array([0, 1, 1, 1])
    assert quality.calibration_error(np.log(chances), labels) == pytest.approx((1.4 + 0.45) / 4)


def test_calibration_error_of_the_honest_and_of_the_sure() -> None:
    sure = np.array([[50.0, 0.0]] * 4)
    assert quality.calibration_error(sure, np.array([0, 0, 0, 0])) == pytest.approx(0.0)
    assert quality.calibration_error(sure, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert quality.calibration_error(np.zeros((4, 2)), np.array([0, 0, 1, 1])) == pytest.approx(0.0)


def test_logits_come_back_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    quality.keep_logits(logits, tmp_path, "name")
    again = quality.read_logits(tmp_path, "name")
    assert again is not None
    assert again.tolist() == logits.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["name.npy"]
    for content in (b"", (tmp_path / "name.npy").read_bytes()[:-4]):
        (tmp_path / "name.npy").write_bytes(content)
        assert quality.read_logits(tmp_path, "name") is None
    assert quality.read_logits(tmp_path, "missing") is None


@pytest.mark.parametrize(
    ("tokens", "context", "stride"), [(100, 10, 10), (100, 10, 5), (101, 16, 3), (7, 16, 16), (2, 4, 1), (33, 32, 16)]
)
def test_every_token_but_the_first_is_scored_once(tokens: int, context: int, stride: int) -> None:
    scored = []
    for window in windows(tokens, context, stride):
        assert window.end - window.begin <= context
        assert window.scored < window.end - window.begin  # each has a token before it
        scored += range(window.end - window.scored, window.end)
    if stride < context:
        assert scored == list(range(1, tokens))
    else:  # the first token of each window stands alone in it
        assert len(scored) == len(set(scored))
        assert set(scored) == {place for place in range(tokens) if place % stride}


def test_stride_gives_each_token_the_context_that_it_asks_for() -> None:
    [_, *later] = windows(100, 20, 5)
    assert {window.end - window.begin - window.scored for window in later} == {15}


def test_a_single_token_has_nothing_to_score() -> None:
    assert windows(1, 8, 8) == []


@pytest.mark.parametrize("vocabulary", [2, 50, 1000])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(vocabulary: int) -> None:
    ids = torch.arange(20) % vocabulary
    nats = [sum(nats_of(torch.zeros(20, vocabulary), ids, length=20, scored=scored)) for scored in (19, 7)]
    found = perplexity(nats, [19, 7])
    assert found.value == pytest.approx(vocabulary, rel=1e-5)
    assert found.standard_error == pytest.approx(0, abs=1e-3 * vocabulary)
    assert found.samples == 26


def test_only_the_last_tokens_of_a_window_are_scored_and_padding_is_not() -> None:
    """Logits that are certain of the next token at every place but one."""
    ids = torch.tensor([3, 1, 4, 1, 5, 0, 0])
    logits = torch.full((7, 8), -1e4)
    logits[torch.arange(4), ids[1:5]] = 1e4
    logits[0] = 0  # says nothing of the token after the first
    assert sum(nats_of(logits, ids, length=5, scored=3)) == pytest.approx(0)
    assert sum(nats_of(logits, ids, length=5, scored=4)) == pytest.approx(math.log(8))


def test_the_standard_error_is_that_of_a_ratio_over_windows() -> None:
    """With windows of one length it is that of the mean of their means."""
    nats, count = [10.0, 12.0, 11.0, 15.0], 4
    found = perplexity(nats, [count] * 4)
    means = torch.tensor(nats) / count
    error = float(means.std() / math.sqrt(len(nats)))
    assert found.value == pytest.approx(math.exp(float(means.mean())))
    assert found.standard_error == pytest.approx(found.value * error)


def test_one_window_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="two windows"):
        perplexity([10.0], [5])


def test_the_first_windows_have_enough_scored_tokens() -> None:
    places = windows(100, 32, 32)  # 31 scored tokens each, then 3
    assert [window.scored for window in places] == [31, 31, 31, 3]
    assert first_windows(places, 62) == places[:2]
    assert first_windows(places, 63) == places[:3]
    assert first_windows(places, 10_000) == places
    assert first_windows(places, 1, least=2) == places[:2]
