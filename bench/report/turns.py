"""Ratio of a row to the reference of its sets, from the rounds in which both took turns, with its interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.records import Measurement
from bench.report.statistics import Estimate, Interval, quantile_interval

CRITICAL = {2: 12.71, 3: 4.42, 4: 3.27, 5: 3.03}
"""Standard errors of a median of so many normal values that hold 95 % of them. Student's factors (4.30 for three) are
those of a mean. Simulated with a million draws each; the test of this module covers the intervals that follow."""
MAD = 1.4826
"""Standard deviation of normal values over their median absolute deviation."""
ERROR_OF_MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of a median of normal values over that of their mean."""


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    """Reference's seconds over the row's: above 1 the row is faster."""

    value: float
    """Median over sets of the median over rounds."""
    interval: Interval | None
    """95 % confidence interval that includes the variation between sets; None with fewer than two sets."""
    sets: int
    rounds: int
    """Rounds of all sets together."""
    spread: float
    """Standard deviation of the ratio between rounds of one set, as a share of it: how well pairing cancelled."""
    by_set: tuple[float, ...]
    """Ratio of each set, in the order of the sets."""

    @property
    def estimate(self) -> Estimate:
        return Estimate(value=self.value, interval=self.interval)

    @property
    def error(self) -> float | None:
        """Half the interval as a share of the ratio, the longer side of it: what stands after ±."""
        return self.interval.error(self.value) / self.value if self.interval else None


def paired_ratio(measurement: Measurement) -> PairedRatio | None:
    """Ratio of a row to the reference that took turns with it; None where it took none."""
    sets = rounds_of(measurement)
    return ratio_of_sets([sets[number] for number in sorted(sets)]) if sets else None


def rounds_of(measurement: Measurement) -> dict[int, list[float]]:
    """Ratios of the rounds of each set, see `by_round`."""
    ratios: defaultdict[int, list[float]] = defaultdict(list)
    for (number, _), ratio in by_round(measurement).items():
        ratios[number].append(ratio)
    return dict(ratios)


def by_round(measurement: Measurement) -> dict[tuple[int, int], float]:
    """Reference's median seconds a call over the row's in its turn, by the numbers of set and round."""
    ratios = {}
    begin = 0
    for turn in measurement.turns:
        samples = measurement.seconds[begin : begin + turn.samples]
        begin += turn.samples
        if turn.reference_seconds is not None and samples:
            ratios[turn.set, turn.round] = turn.reference_seconds / float(np.median(samples))
    return ratios


def ratio_of_sets(sets: Sequence[Sequence[float]]) -> PairedRatio:
    """Ratio over ``sets``, each the ratios of its rounds.

    From six sets on, the interval is the distribution-free one of the sets' medians. With fewer it is one on the
    logarithmic scale: the critical value of a median times the standard error. That error comes from the differences
    between sets, and is no smaller than what the rounds within them show, since two or three sets may agree by chance.
    Sources: Kalibera and Jones 2013 for repeating at the level that varies most; David and Nagaraja, Order Statistics,
    3rd edition, 7.1.

    Raises:
        ValueError: there is no round.
    """
    logs = [np.log(np.asarray(rounds, dtype=np.float64)) for rounds in sets if len(rounds)]
    if not logs:
        raise ValueError("no round to take a ratio from")
    centers = np.array([float(np.median(rounds)) for rounds in logs])
    deviations = np.array([_deviation(rounds) for rounds in logs])
    errors = ERROR_OF_MEDIAN * deviations / np.sqrt([rounds.size for rounds in logs])
    return PairedRatio(
        value=math.exp(float(np.median(centers))),
        interval=_interval(centers, errors),
        sets=len(logs),
        rounds=sum(rounds.size for rounds in logs),
        spread=float(np.median(deviations)),
        by_set=tuple(float(value) for value in np.exp(centers)),
    )


def ratio_change(old: PairedRatio, new: PairedRatio) -> Estimate:
    """Factor between the ratios of two runs: 0.9 if the row is 10 % slower against the reference than before.

    The two intervals are independent: their lengths add as squares on the logarithmic scale.
    """
    value = new.value / old.value
    if old.interval is None or new.interval is None:
        return Estimate(value=value, interval=None)
    down = math.hypot(math.log(new.value / new.interval.low), math.log(old.interval.high / old.value))
    up = math.hypot(math.log(new.interval.high / new.value), math.log(old.value / old.interval.low))
    return Estimate(value=value, interval=Interval(low=value * math.exp(-down), high=value * math.exp(up)))


def _interval(centers: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]) -> Interval | None:
    if centers.size < 2:
        return None
    critical = CRITICAL.get(centers.size)
    if critical is None:
        return quantile_interval(np.exp(centers))
    variance = max(float(centers.var(ddof=1)), float(np.mean(errors**2)))
    half = critical * math.sqrt(variance / centers.size)
    middle = float(np.median(centers))
    return Interval(low=math.exp(middle - half), high=math.exp(middle + half))


def _deviation(rounds: npt.NDArray[np.float64]) -> float:
    """Standard deviation of log ratios, in a way that a few disturbed rounds do not shape."""
    return MAD * float(np.median(np.abs(rounds - np.median(rounds))))
