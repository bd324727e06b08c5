"""Ratios to the reference of the same sets, in the one run against the other: a slower day slows both alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.turns import is_twin, reference_of
from bench.report.compare.changes import Outcome
from bench.report.compare.matching import Pair
from bench.report.compare.significance import holm
from bench.report.compare.thresholds import ALPHA, RATIO
from bench.report.statistics import Interval, normal_p
from bench.report.turns import PairedRatio, paired_ratio, ratio_change


@dataclass(frozen=True, kw_only=True)
class RatioChange:
    """Speed of a route over the reference, in both runs. ``change`` is NEW over OLD: above 1 better."""

    pair: Pair
    old: PairedRatio
    new: PairedRatio
    change: float
    interval: Interval | None
    """95 %, the variation between the sets of both runs included; None where a run has one set."""
    p: float | None = None
    """p of no change, corrected by Holm for all tested rows of the comparison; None where a run has one set."""

    @property
    def obstacle(self) -> str | None:
        return "one set in a run" if self.interval is None else None

    @property
    def outcome(self) -> Outcome:
        """A change counts where it shows after the correction and is beyond the threshold."""
        if self.interval is None or self.p is None:
            return "cannot tell"
        if self.p <= ALPHA and not _within(self.change):
            return "better" if self.change > 1 else "worse"
        return "same" if all(map(_within, (self.interval.low, self.interval.high))) else "no clear difference"


def ratio_changes(pairs: Sequence[Pair]) -> tuple[RatioChange, ...]:
    """Every row that took turns with the reference in both runs; not the reference itself, nor its twin."""
    found = [change for pair in pairs if (change := _change(pair)) is not None]
    values = iter(holm([_p(one.change, one.interval) for one in found if one.interval is not None]))
    return tuple(one if one.interval is None else replace(one, p=next(values)) for one in found)


def took_turns(pair: Pair) -> bool:
    """True if both runs have a ratio of turns: then absolute times are information alone."""
    return pair.results is not None and all(result.first.turns for result in pair.results)


def _change(pair: Pair) -> RatioChange | None:
    if pair.results is None or is_twin(pair.case) or reference_of(pair.case) == pair.case:
        return None
    if any(result.meaningless for result in pair.results):
        return None
    old, new = (paired_ratio(result.first) for result in pair.results)
    if old is None or new is None:
        return None
    change = ratio_change(old, new)
    return RatioChange(pair=pair, old=old, new=new, change=change.value, interval=change.interval)


def _p(change: float, interval: Interval) -> float:
    """p of no change, if the logarithm is normal with the error that the interval stands for."""
    half = max(math.log(interval.high / change), math.log(change / interval.low))
    return normal_p(1.96 * math.log(change) / half) if half else float(change == 1)


def _within(ratio: float) -> bool:
    return 1 / (1 + RATIO) <= ratio <= 1 + RATIO
