"""Statistics of timing samples and of accuracies, all derived from the raw samples of the records."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Samples = Sequence[float] | Array

P95_SAMPLES = 20
"""With fewer samples the 95th percentile is little else than the largest of them: it is not given."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    low: float
    high: float

    def error(self, value: float) -> float:
        """Longer side of the interval around ``value``, printed after ±."""
        return max(self.high - value, value - self.low)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Statistics of the samples of one row, in seconds; None where the samples are too few."""

    samples: int
    processes: int
    median: float
    interval: Interval | None
    """95 % confidence interval of the median, see `summarise`."""
    p95: float | None
    p95_interval: Interval | None
    mean: float
    deviation: float | None
    relative_standard_error: float | None
    """Standard error of the mean over the mean."""
    unstable: str | None
    """Reason why the row is marked: ``spread``, ``extremes`` or both; None where it is steady."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Test accuracy over seeds, as fractions of 1."""

    mean: float
    standard_error: float
    deviation: float | None
    """Sample standard deviation between seeds; None for one seed."""
    lowest: float
    highest: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    value: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two shares, in fractions of 1, with its standard error."""

    value: float
    standard_error: float

    def beyond(self, errors: float) -> bool:
        return abs(self.value) > errors * self.standard_error


def summarise(processes: Sequence[Sequence[float]]) -> Timing:
    """Statistics of the samples of one or more fresh processes that measured the same row.

    Median, p95 and mean are those of all samples together. The interval of one process is that of its samples. Samples
    of one process are not independent of each other, so with several processes the interval also takes in the median
    of each, and from six processes on it is the interval of the processes' medians. The same for p95.

    Raises:
        ValueError: there is no sample.
    """
    pooled = np.sort(np.array([sample for samples in processes for sample in samples], dtype=np.float64))
    if not pooled.size:
        raise ValueError("no sample to summarise")
    mean = float(pooled.mean())
    p95 = _quantile(pooled, 0.95) if pooled.size >= P95_SAMPLES else None
    deviation = float(pooled.std(ddof=1)) if pooled.size > 1 else None
    return Timing(
        samples=int(pooled.size),
        processes=len(processes),
        median=_quantile(pooled, 0.5),
        interval=_interval(processes, pooled, 0.5),
        p95=p95,
        p95_interval=_interval(processes, pooled, 0.95) if p95 is not None else None,
        mean=mean,
        deviation=deviation,
        relative_standard_error=deviation / math.sqrt(pooled.size) / mean if deviation is not None else None,
        unstable=_unstable(pooled, mean, deviation),
    )


def quantile_interval(samples: Samples, quantile: float = 0.5, confidence: float = 0.95) -> Interval | None:
    """Distribution-free confidence interval of a quantile from order statistics; None where samples are too few.

    The median needs six samples, the 95th percentile 72. Source: David and Nagaraja, Order Statistics, 3rd edition,
    7.1: of n samples, the number below the q-quantile is binomial with n and q.
    """
    return _interval_of(np.sort(np.asarray(samples, dtype=np.float64)), quantile, confidence)


def speed_up(baseline: Timing, row: Timing) -> Estimate:
    """Speed of ``row`` over that of ``baseline``."""
    return quotient(
        Estimate(value=baseline.median, interval=baseline.interval), Estimate(value=row.median, interval=row.interval)
    )


def quotient(one: Estimate, other: Estimate) -> Estimate:
    """``one`` over ``other``, both above 0, with the widest interval that their intervals allow."""
    value = one.value / other.value
    if one.interval is None or other.interval is None:
        return Estimate(value=value, interval=None)
    low, high = one.interval.low / other.interval.high, one.interval.high / other.interval.low
    return Estimate(value=value, interval=Interval(low=low, high=high))


def binomial_error(share: float, samples: int) -> float:
    """Standard error of a share of ``samples`` independent images: sqrt(p (1 - p) / n)."""
    return math.sqrt(share * (1 - share) / samples)


def paired_difference(lost: int, gained: int, samples: int) -> Difference:
    """Accuracy of one classifier less that of another on the same ``samples`` images.

    ``lost`` images only the other one gets right, ``gained`` only this one. The standard error of (c - b) / n is
    sqrt(b + c - (b - c)^2 / n) / n. Source: Agresti, Categorical Data Analysis, 3rd edition, 11.1.1.
    """
    spread = lost + gained - (lost - gained) ** 2 / samples
    return Difference(value=(gained - lost) / samples, standard_error=math.sqrt(max(spread, 0.0)) / samples)


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p of McNemar's test: how likely so uneven a split is if neither of two classifiers is better.

    Of the b + c images that only one of them gets right, the number that one gets right is then binomial with 1/2;
    p = min(1, 2 P(X <= min(b, c))), and 1 if there is no such image. Source: McNemar, Psychometrika 12 (1947), 153-157,
    in its exact form.
    """
    if lost + gained == 0:
        return 1.0
    from scipy.special import bdtr  # a tenth of a second of import, which most reports do without

    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5)))


def over_seeds(values: Sequence[float], samples: int) -> Accuracy:
    """Mean accuracy of several seeds on the same ``samples`` test images.

    The standard error is sqrt(p (1 - p) / n + s^2 / k) for k seeds with standard deviation s: seeds share the test
    images, so more seeds do not make that part smaller. For one seed it is the binomial error, which leaves out the
    seeds' spread.
    """
    mean = float(np.mean(values))
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    between = deviation**2 / len(values) if deviation is not None else 0.0
    return Accuracy(
        mean=mean,
        standard_error=math.sqrt(binomial_error(mean, samples) ** 2 + between),
        deviation=deviation,
        lowest=min(values),
        highest=max(values),
        seeds=len(values),
    )


def student(values: Sequence[float]) -> Estimate:
    """Mean of independent ``values`` (of seeds, or of differences between pairs of them) with its 95 % t interval.

    One value has no interval. Neither have several that agree by chance in anything but 0, as shares of few images do:
    that is no spread of nothing.
    """
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    if len(values) < 2 or (mean and spread < 1e-9 * abs(mean)):
        return Estimate(value=mean, interval=None)
    error = student_factor(len(values)) * spread / math.sqrt(len(values))
    return Estimate(value=mean, interval=Interval(low=mean - error, high=mean + error))


def per_second(timing: Timing, items: int) -> Estimate:
    """Items a second, of samples that hold ``items`` each."""
    found = timing.interval
    turned = Interval(low=items / found.high, high=items / found.low) if found else None
    return Estimate(value=items / timing.median, interval=turned)


def student_factor(seeds: int) -> float:
    """Standard errors beyond which a difference over ``seeds`` counts at 95 %: Student's t with one seed less."""
    from scipy.stats import t  # a second of import, which most reports do without

    return float(t.ppf(0.975, seeds - 1))


def student_p(errors: float, samples: int) -> float:
    """Two-sided p of a mean of ``samples`` that lies ``errors`` standard errors from what it should be."""
    from scipy.stats import t

    return 2 * float(t.sf(abs(errors), samples - 1))


def _interval(processes: Sequence[Sequence[float]], pooled: Array, quantile: float) -> Interval | None:
    within = _interval_of(pooled, quantile, 0.95)
    if len(processes) == 1:
        return within
    values = [_quantile(np.sort(np.asarray(samples)), quantile) for samples in processes]
    between = quantile_interval(values)
    if between is not None:
        return between
    ends = [*values, *((within.low, within.high) if within else ())]
    return Interval(low=min(ends), high=max(ends))


def _quantile(ordered: Array, quantile: float) -> float:
    """Quantile between the two nearest samples, numpy's default; numpy takes ten times as long on few samples."""
    place = quantile * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _interval_of(ordered: Array, quantile: float, confidence: float) -> Interval | None:
    low = _rank(ordered.size, quantile, confidence)
    high = _rank(ordered.size, 1 - quantile, confidence)
    return Interval(low=float(ordered[low - 1]), high=float(ordered[-high])) if low and high else None


def _unstable(pooled: Array, mean: float, deviation: float | None) -> str | None:
    """The two marks of pyperf: standard deviation over 10 % of the mean, an extreme 50 % away from it.

    pyperf's samples are means of many calls and few. Among hundreds of single calls one stray one says nothing of the
    rest: from 100 samples on the extremes are the 1st and 99th percentile.
    """
    marks = []
    stray = pooled.size // 100
    if deviation is not None and deviation > 0.1 * mean:
        marks.append("spread")
    if pooled[stray] < 0.5 * mean or pooled[-1 - stray] > 1.5 * mean:
        marks.append("extremes")
    return " and ".join(marks) or None


@functools.cache
def _rank(samples: int, share: float, confidence: float) -> int:
    """The largest k for which fewer than k of ``samples`` below the quantile are rarer than half of 1 - confidence."""
    tail = 0.0
    for below in range(samples + 1):
        ways = math.lgamma(samples + 1) - math.lgamma(below + 1) - math.lgamma(samples - below + 1)
        tail += math.exp(ways + below * math.log(share) + (samples - below) * math.log1p(-share))
        if tail > (1 - confidence) / 2:
            return below
    return samples
