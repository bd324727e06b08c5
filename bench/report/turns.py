"""Ratio of a row to the reference of its sets, from the rounds in which both took turns, with its interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.core.records import Measurement, Turn
from bench.core.turns import TURN_SECONDS, UNDISTURBED, off_pace
from bench.report.statistics import Estimate, Interval, quantile_interval

CRITICAL = {2: 12.71, 3: 4.42, 4: 3.27, 5: 3.03}
"""Standard errors of a median of so many normal values that hold 95 % of them. Student's factors (4.30 for three) are
those of a mean. Simulated with a million draws each; the test of this module covers the intervals that follow."""
ERROR_OF_MEDIAN = {2: 1.0, 3: 1.160, 4: 1.092, 5: 1.198}
"""Standard error of a median of so many normal values over that of their mean."""
FEWEST_ROWS = 8
"""Rows with several sets from which on their common spread is estimated."""
MOST_DEGREES = 8.0
"""Most degrees of freedom of a common spread: rows do differ, and a dozen of them tell little of how much. Simulated
with 22 rows of three sets, a tenth of them five times as far apart: 96 % of intervals cover, p < 0.001 in 0.12 %."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Common:
    """How far the sets of a row are apart by what the other rows of the run show: two or three sets alone say little.

    The true variance of each row is taken as drawn from a scaled inverse chi-squared distribution. Source: Smyth,
    Statistical Applications in Genetics and Molecular Biology 3 (2004), article 3.
    """

    variance: float
    """Of the logarithm of a set's ratio."""
    degrees: float
    """Degrees of freedom that it is worth: few where rows differ much in their spread."""


@dataclass(frozen=True, kw_only=True)
class Error:
    """Standard error of a median, with the degrees of freedom that it is estimated from."""

    value: float
    spread: float
    """Standard deviation between sets that it follows from."""
    degrees: float


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    """Reference's seconds over the row's: above 1 the row is faster."""

    by_set: tuple[float, ...]
    """Ratio of each set that counts, in the order of the sets."""
    rounds: int
    """Rounds of all sets together."""
    common: Common | None = None

    @property
    def sets(self) -> int:
        return len(self.by_set)

    @property
    def value(self) -> float:
        """Median over sets, on the logarithmic scale."""
        return math.exp(float(np.median(np.log(self.by_set))))

    @property
    def error(self) -> Error | None:
        """Standard error on the logarithmic scale; None with fewer than two sets.

        The variance of few sets lies between their own and the common one, which counts as so many more sets. Source
        of repeating at the level that varies most: Kalibera and Jones 2013.
        """
        if self.sets < 2:
            return None
        variance, degrees = float(np.log(self.by_set).var(ddof=1)), self.sets - 1.0
        if self.common is not None:
            more = self.common.degrees
            variance = (degrees * variance + more * self.common.variance) / (degrees + more)
            degrees += more
        of_median = ERROR_OF_MEDIAN.get(self.sets, math.sqrt(math.pi / 2))
        spread = math.sqrt(variance)
        return Error(value=of_median * spread / math.sqrt(self.sets), spread=spread, degrees=degrees)

    @property
    def interval(self) -> Interval | None:
        """95 % confidence interval that includes the variation between sets; None with fewer than two sets.

        From six sets on it is the distribution-free one of a median.
        """
        error = self.error
        if error is None:
            return None
        if self.sets not in CRITICAL:
            return quantile_interval(self.by_set)
        half = CRITICAL[self.sets] / ERROR_OF_MEDIAN[self.sets] * error.value
        if self.common is not None:
            from scipy.special import stdtrit

            half = min(half, float(stdtrit(error.degrees, 0.975)) * error.value)
        return Interval(low=self.value * math.exp(-half), high=self.value * math.exp(half))

    @property
    def estimate(self) -> Estimate:
        return Estimate(value=self.value, interval=self.interval)


def paired_ratio(measurement: Measurement) -> PairedRatio | None:
    """Ratio of a row to the reference that took turns with it; None where it took none.

    In each set both routes are cut into stretches of equal length, equally many of them in each round, and compared at
    the same quantile of theirs, see `UNDISTURBED`. A short call would else find a quiet moment that a long one cannot.
    Sets in which the machine had another pace are left out, unless the row has no others.
    """
    rounds = _rounds(measurement)
    if not rounds:
        return None
    kept = [rounds[number] for number in sorted(_counting(measurement, rounds))]
    return PairedRatio(by_set=tuple(map(_ratio_of_set, kept)), rounds=sum(map(len, kept)))


def by_round(measurement: Measurement) -> dict[tuple[int, int], float]:
    """Reference's median seconds a call over the row's in its turn, by the numbers of set and round."""
    return {
        (turn.set, turn.round): turn.reference_seconds / float(np.median(own))
        for turn, own in _turns(measurement)
        if turn.reference_seconds is not None
    }


def common_spread(ratios: Iterable[PairedRatio]) -> Common | None:
    """Fit to the variances between the sets of each row; None where there are too few rows.

    By the moments of logarithms of variances: of each, less what chi-squared variables of its degrees of freedom have.
    """
    rows = [np.log(ratio.by_set) for ratio in ratios if 1 < ratio.sets <= max(CRITICAL)]
    known = [(float(row.var(ddof=1)), row.size - 1) for row in rows if row.var() > 0]
    if len(known) < FEWEST_ROWS:
        return None
    from scipy.special import polygamma, psi  # a tenth of a second of import

    variances, degrees = np.array(known).T
    logs = np.log(variances) - psi(degrees / 2) + np.log(degrees / 2)
    center = float(logs.mean())
    excess = float(logs.var(ddof=1) - polygamma(1, degrees / 2).mean())
    worth = min(2 * _trigamma_inverse(excess), MOST_DEGREES) if excess > 0 else MOST_DEGREES
    return Common(variance=math.exp(center + float(psi(worth / 2)) - math.log(worth / 2)), degrees=worth)


def among_others(ratios: Sequence[PairedRatio], experiments: Sequence[str]) -> list[PairedRatio]:
    """Each ratio of a run with the common spread of the rows of its experiment; the reference's own has no spread."""
    found: defaultdict[str, list[PairedRatio]] = defaultdict(list)
    for ratio, experiment in zip(ratios, experiments, strict=True):
        found[experiment].append(ratio)
    common = {experiment: common_spread(rows) for experiment, rows in found.items()}
    return [
        ratio if len(set(ratio.by_set)) == 1 else replace(ratio, common=common[experiment])
        for ratio, experiment in zip(ratios, experiments, strict=True)
    ]


def ratio_change(old: PairedRatio, new: PairedRatio) -> Estimate:
    """Factor between the ratios of two runs: 0.9 if the row is 10 % slower against the reference than before.

    The two intervals are independent: their lengths add as squares on the logarithmic scale.
    """
    value = new.value / old.value
    before, after = old.interval, new.interval
    if before is None or after is None:
        return Estimate(value=value, interval=None)
    down = math.hypot(math.log(new.value / after.low), math.log(before.high / old.value))
    up = math.hypot(math.log(after.high / new.value), math.log(old.value / before.low))
    return Estimate(value=value, interval=Interval(low=value * math.exp(-down), high=value * math.exp(up)))


def p_of_change(old: PairedRatio, new: PairedRatio, between: float) -> float | None:
    """p of no change between the ratios of two runs; None where one of them has one set.

    Student's t of both errors, with Welch's degrees of freedom: with three sets a side a normal distribution would call
    a difference ten times too often at p = 0.001.

    Args:
        between: standard deviation of a ratio's logarithm from run to run, over that between the sets of a run.
    """
    before, after = old.error, new.error
    if before is None or after is None:
        return None
    from scipy.special import stdtr

    difference = math.log(new.value / old.value)
    squares = [one.value**2 + (between * one.spread) ** 2 for one in (before, after)]
    square = sum(squares)
    if not square:
        return float(difference == 0)
    parts = sum(own**2 / one.degrees for own, one in zip(squares, (before, after), strict=True))
    degrees = square**2 / parts if parts else math.inf
    return 2 * float(stdtr(degrees, -abs(difference) / math.sqrt(square)))


def _turns(measurement: Measurement) -> Iterator[tuple[Turn, Floats]]:
    """Turns that have samples, each with the seconds of its own."""
    seconds = np.array(measurement.seconds)
    begin = 0
    for turn in measurement.turns:
        own = seconds[begin : begin + turn.samples]
        begin += turn.samples
        if own.size:
            yield turn, own


def _rounds(measurement: Measurement) -> dict[int, list[tuple[Floats, Floats]]]:
    """Seconds of the reference's calls and of the row's, by set, in each round that both have."""
    found: defaultdict[int, list[tuple[Floats, Floats]]] = defaultdict(list)
    for turn, own in _turns(measurement):
        if turn.reference_calls:
            found[turn.set].append((np.array(turn.reference_calls), own))
        elif turn.reference_seconds is not None:  # a file of an earlier version knows the median of the turn alone
            found[turn.set].append((np.array([turn.reference_seconds]), np.array([np.median(own)])))
    return found


def _counting(measurement: Measurement, rounds: Mapping[int, Sequence[tuple[Floats, Floats]]]) -> set[int]:
    """Sets that the ratio is taken in: those that count for all routes of the subject.

    A row that has none of them, and one of an earlier version, whose file does not tell, goes by the pace of its own.
    """
    counting = {turn.set for turn in measurement.turns if turn.counts} & rounds.keys()
    if counting:
        return counting
    references = {number: np.concatenate([calls for calls, _ in pairs]).tolist() for number, pairs in rounds.items()}
    return rounds.keys() - off_pace(references)


def _ratio_of_set(rounds: Sequence[tuple[Floats, Floats]]) -> float:
    worth = [_worth([one[side] for one in rounds]) for side in (0, 1)]
    length = max(worth)
    both: tuple[list[Floats], list[Floats]] = ([], [])
    for one in rounds:
        stretches = [_stretches(calls, length / each) for calls, each in zip(one, worth, strict=True)]
        count = min(map(len, stretches))
        for kept, found in zip(both, stretches, strict=True):
            kept.append(found[np.arange(count) * len(found) // count])
    theirs, ours = (float(np.quantile(np.concatenate(kept), UNDISTURBED)) for kept in both)
    return theirs / ours


def _worth(turns: Sequence[Floats]) -> float:
    """Seconds that each kept call stands for: of many short ones a turn keeps some."""
    typical, count = np.median(np.concatenate(turns)), np.median([len(calls) for calls in turns])
    return float(max(typical, TURN_SECONDS / count))


def _stretches(calls: Floats, length: float) -> Floats:
    """Medians of stretches of ``length`` calls."""
    size = max(1, min(len(calls), round(length)))
    if size == 1:
        return calls
    count = len(calls) // size
    found: Floats = np.median(calls[: count * size].reshape(count, size), axis=1)
    return found


def _trigamma_inverse(value: float) -> float:
    """The x whose trigamma is ``value``, by Newton's method on 1 / trigamma, which is convex and nearly linear."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        step = float(polygamma(1, x) * (1 - polygamma(1, x) / value) / polygamma(2, x))
        x += step
        if -step < 1e-9 * x:
            break
    return x
