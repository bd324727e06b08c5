"""Tests over fresh processes. The unit is a process: samples of one process are not independent of each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from bench.report.statistics import Array, Interval

SEED = 0
"""Seed of the bootstrap: the same files give the same report."""
EXACT_UP_TO = 100
"""Processes up to which the distribution of U is counted out."""


def rank_test(old: Sequence[float], new: Sequence[float]) -> float:
    """Two-sided p of the Mann-Whitney U test: exact, or by the normal approximation where values are tied."""
    from scipy.stats import mannwhitneyu  # a second of import

    values = (*old, *new)
    if len(set(values)) == 1:  # the approximation divides by their spread
        return 1.0
    exact = len(set(values)) == len(values) <= EXACT_UP_TO
    return float(mannwhitneyu(new, old, alternative="two-sided", method="exact" if exact else "asymptotic").pvalue)


def smallest_p(old: int, new: int) -> float:
    """Result of `rank_test` where ``old`` and ``new`` processes do not overlap at all: 2 / C(old + new, new)."""
    return min(1.0, 2 / math.comb(old + new, new))


def processes_needed(rows: int, alpha: float) -> int:
    """Processes a side from which on even the first of ``rows`` rows can be told at ``alpha`` after `holm`."""
    return next(count for count in itertools.count(1) if rows * smallest_p(count, count) <= alpha)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order given: rejecting those up to alpha errs once in 1 / alpha.

    Of m sorted values the i-th (from 0) is multiplied by m - i and is at least the one before. Source: Holm,
    Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected = [0.0] * len(values)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = least
    return corrected


def ratio_interval(old: Sequence[float], new: Sequence[float]) -> Interval:
    """95 % percentile bootstrap, over processes, of the median of ``new`` over that of ``old``."""
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(new), np.asarray(old)),
        _ratio_of_medians,
        vectorized=True,
        method="percentile",
        random_state=np.random.default_rng(SEED),  # ``rng`` since scipy 1.15, which also takes this name
    ).confidence_interval
    return Interval(low=float(found.low), high=float(found.high))


def _ratio_of_medians(new: Array, old: Array, axis: int = -1) -> Array:
    ratio: Array = np.median(new, axis=axis) / np.median(old, axis=axis)
    return ratio
