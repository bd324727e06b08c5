"""Ratios to the reference of the same sets, in the one run against the other: a slower day slows both alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.turns import is_twin, reference_of
from bench.report.compare.changes import Outcome
from bench.report.compare.matching import Pair
from bench.report.compare.significance import holm
from bench.report.compare.thresholds import ALPHA, BETWEEN_RUNS, RATIO
from bench.report.statistics import Interval
from bench.report.turns import PairedRatio, among_others, p_of_change, paired_ratio, ratio_change


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
    both = [(pair, ratios) for pair in pairs if (ratios := _ratios(pair)) is not None]
    kinds = [pair.case.experiment for pair, _ in both]
    old, new = (among_others([ratios[side] for _, ratios in both], kinds) for side in (0, 1))
    found = [_change(pair, *ratios) for (pair, _), *ratios in zip(both, old, new, strict=True)]
    values = iter(holm([one.p for one in found if one.p is not None]))
    return tuple(one if one.p is None else replace(one, p=next(values)) for one in found)


def took_turns(pair: Pair) -> bool:
    """True if both runs have a ratio of turns: then absolute times are information alone."""
    return pair.results is not None and all(result.first.turns for result in pair.results)


def _ratios(pair: Pair) -> tuple[PairedRatio, PairedRatio] | None:
    """Ratio of a row in both runs; None where it is no row that is judged by it."""
    if pair.results is None or is_twin(pair.case) or reference_of(pair.case) == pair.case:
        return None
    if any(result.meaningless for result in pair.results):
        return None
    old, new = (paired_ratio(result.first) for result in pair.results)
    return (old, new) if old and new else None


def _change(pair: Pair, old: PairedRatio, new: PairedRatio) -> RatioChange:
    change = ratio_change(old, new)
    p = p_of_change(old, new, BETWEEN_RUNS)
    return RatioChange(pair=pair, old=old, new=new, change=change.value, interval=change.interval, p=p)


def _within(ratio: float) -> bool:
    return 1 / (1 + RATIO) <= ratio <= 1 + RATIO
