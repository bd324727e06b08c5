"""Accuracy image by image and perplexity window by window, in the one run against the other."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from bench.report.beside import Agreement
from bench.report.compare.changes import Outcome
from bench.report.compare.conditions import data_digest
from bench.report.compare.matching import Entry, Pair, cell
from bench.report.compare.significance import holm
from bench.report.compare.thresholds import ACCURACY_OF_SAME_WEIGHTS, ACCURACY_TRAINED_ANEW, ALPHA, PERPLEXITY
from bench.report.load import Run
from bench.report.pairing import Labels, agreement, perplexity_change, weights_of
from bench.report.results import FP32, Result
from bench.report.statistics import student_factor, student_p

Weights = tuple[str | None, str | None]
"""Weights of one case in the old and in the new run, as ``weights_of`` names them."""


@dataclass(frozen=True, kw_only=True)
class QualityChange:
    """Quality of one case in both runs. ``change`` is new less old for an accuracy, new over old less 1 otherwise."""

    pair: Pair
    """The first of them where batch sizes share their predictions."""
    metric: str
    old: float | None
    new: float | None
    obstacle: str | None = None
    change: float | None = None
    standard_error: float | None = None
    """Standard error of the change, paired."""
    samples: int | None = None
    """Images or windows that both were judged on."""
    p: float | None = None
    """p of the paired test, corrected by Holm for all judged rows of the comparison."""
    threshold: float = 0.0
    remark: str | None = None

    @property
    def outcome(self) -> Outcome:
        if self.obstacle is not None or self.change is None or self.p is None:
            return "cannot tell"
        loss = -self.change if self.metric == "accuracy" else self.change
        if self.p <= ALPHA and abs(loss) > self.threshold:
            return "worse" if loss > 0 else "better"
        return "same" if self.p == 1 and loss == 0 else "no clear difference"


def quality_changes(old: Run, new: Run, pairs: Sequence[Pair]) -> tuple[QualityChange, ...]:
    """Every quality that either run has of the cases that both measured; shared predictions count once."""
    distinct: dict[tuple[object, ...], Pair] = {}
    for pair in pairs:
        if pair.results is not None:
            distinct.setdefault(_predicted(pair), pair)
    judged = [(pair, _agreement(old, new, pair)) for pair in distinct.values()]
    alike = {
        _weights(pair)
        for pair, found in judged
        if found is not None and found.alike == 1 and pair.case.precision == FP32
    }
    changes = [item for pair, found in judged for item in _of(old, new, pair, found, _are_same(_weights(pair), alike))]
    values = iter(holm([item.p for item in changes if item.p is not None]))
    return tuple(item if item.p is None else replace(item, p=next(values)) for item in changes)


def _weights(pair: Pair) -> Weights:
    old, new = (weights_of(result) for result in pair.results or ())
    return old, new


def _are_same(weights: Weights, alike: Set[Weights]) -> bool:
    """True if both runs judged the same weights: one digest, or files of which fp32 labels every image the same."""
    return None not in weights and (weights[0] == weights[1] or weights in alike)


def _predicted(pair: Pair) -> tuple[object, ...]:
    """Key that cases with the same predictions share: batch sizes have them in common. Others stand alone."""
    digests = [_digest(result) for result in pair.results or ()]
    return (cell(pair, ("batch_size",)), *digests) if all(digests) else (id(pair),)


def _of(old: Run, new: Run, pair: Pair, found: Agreement | None, same: bool) -> list[QualityChange]:
    assert pair.both is not None
    assert pair.results is not None
    qualities = [result.first.quality for result in pair.results]
    metrics = [quality.metric if quality else None for quality in qualities]
    if metrics == [None, None]:
        return []
    before, after = (quality.value if quality else None for quality in qualities)
    row = QualityChange(pair=pair, metric=metrics[1] or metrics[0] or "", old=before, new=after)
    if metrics[0] != metrics[1]:
        return [replace(row, obstacle=f"judged by {metrics[0] or 'nothing'} and {metrics[1] or 'nothing'}")]
    if any(result.meaningless for result in pair.results):
        return [replace(row, obstacle="smoke run")]
    if row.metric == "perplexity":
        return [_perplexity(row, *pair.both, *pair.results)]
    return [_accuracy(row, found, _other_images(old, new, pair), same)]


def _accuracy(row: QualityChange, found: Agreement | None, other_images: bool, same: bool) -> QualityChange:
    if other_images:
        return replace(row, obstacle="judged on other images")
    if found is None:
        return replace(row, obstacle="no predictions or true labels in the files")
    judged = [result.first.quality.samples for result in row.pair.results or () if result.first.quality]
    partly = len(set(judged)) > 1
    remarks = (
        f"on the {found.images} images that both judged" if partly else None,
        None if same else "trained anew",
    )
    return replace(
        row,
        change=found.change.value,
        standard_error=found.change.interval.error(found.change.value) / 1.96 if found.change.interval else None,
        samples=found.images,
        p=found.p,
        threshold=ACCURACY_OF_SAME_WEIGHTS if same else ACCURACY_TRAINED_ANEW,
        remark="; ".join(filter(None, remarks)) or None,
    )


def _perplexity(row: QualityChange, old: Entry, new: Entry, before: Result, after: Result) -> QualityChange:
    if old.case.option("text_digest") != new.case.option("text_digest"):
        return replace(row, obstacle="judged on other text")
    found = perplexity_change(after, before)
    if found is None:
        return replace(row, obstacle="other windows, or none in the files")
    if found.interval is None:
        return replace(row, obstacle="a single window")
    windows = len(after.first.series.get("token_nats") or after.first.series.get("window_tokens", ()))
    error = (found.interval.high - found.interval.low) / 2 / student_factor(windows)
    change = found.value - 1
    p = student_p(change / error, windows) if error else float(change == 0)
    return replace(row, change=change, standard_error=error, samples=windows, p=p, threshold=PERPLEXITY)


def _agreement(old: Run, new: Run, pair: Pair) -> Agreement | None:
    """Predictions of both runs on the same images; None where they are not there."""
    if pair.results is None or pair.both is None or _other_images(old, new, pair):
        return None
    before, after = (_labels(run, _digest(result)) for run, result in zip((old, new), pair.results, strict=True))
    truths = [_truth(run, entry) for run, entry in zip((old, new), pair.both, strict=True)]
    return agreement(after, before, next((truth for truth in truths if truth is not None), None))


def _other_images(old: Run, new: Run, pair: Pair) -> bool:
    assert pair.both is not None
    digests = [data_digest(entry, run) for entry, run in zip(pair.both, (old, new), strict=True)]
    return digests[0] is None or digests[0] != digests[1]


def _digest(result: Result) -> str | None:
    quality = result.first.quality
    return quality.predictions.sha256 if quality and quality.predictions else None


def _labels(run: Run, digest: str | None) -> Labels | None:
    labels = run.predictions.get(digest or "")
    return None if labels is None else np.array(labels)


def _truth(run: Run, entry: Entry) -> Labels | None:
    labels = next((item.test_labels for item in run.datasets if item.spec == entry.case.dataset), None)
    return None if labels is None else np.array(labels)
