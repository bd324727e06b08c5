"""Two trainings held against one another, seed by seed: a difference or a ratio with its interval over the pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.groups import Group
from bench.report.markdown import ABSENT, number, points, ranged
from bench.report.rows import Row, Side, one_accuracy, side_of
from bench.report.statistics import Estimate, Interval, Timing, per_second, quotient, student

Quantity = Callable[[Row], float | None]
FEW = 5
"""Processes below which an interval over them is wide, and tells little of the next one."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One thing against another. ``neutral`` is what it is where both are alike: 0 for a difference, 1 for a ratio."""

    estimate: Estimate
    neutral: float
    processes: int
    """Pairs of them that gave the interval; with one it is that of its samples, if there is any."""

    @property
    def side(self) -> Side:
        return side_of(self.estimate.interval, self.neutral, self.processes)

    @property
    def error(self) -> float | None:
        """What stands after ± of a difference."""
        return self.estimate.interval.error(self.estimate.value) if self.estimate.interval else None


def difference(one: Group, other: Group, quantity: Quantity = one_accuracy) -> Comparison | None:
    """``one`` less ``other`` in a share, paired by seed, with a t interval; None if no seed has both."""
    pairs = _pairs(one, other, quantity)
    if not pairs:
        return None
    return Comparison(estimate=student([ours - theirs for ours, theirs in pairs]), neutral=0.0, processes=len(pairs))


def ratio(one: Group, other: Group, quantity: Quantity) -> Comparison | None:
    """``one`` over ``other`` in a quantity above 0, by seed: geometric mean, with the t interval of logarithms."""
    pairs = _pairs(one, other, quantity)
    if not pairs:
        return None
    logarithm = student([math.log(ours / theirs) for ours, theirs in pairs])
    ends = logarithm.interval
    interval = Interval(low=math.exp(ends.low), high=math.exp(ends.high)) if ends else None
    value = math.exp(logarithm.value)
    return Comparison(estimate=Estimate(value=value, interval=interval), neutral=1.0, processes=len(pairs))


def faster(one: Group, other: Group) -> Comparison | None:
    """How many times as many items a second ``one`` trains as ``other``. One pair has the interval of its epochs."""
    found = ratio(one, other, _rate)
    if found is None or found.processes > 1:
        return found
    return rates_ratio((one.timing, one.first), (other.timing, other.first))


def rates_ratio(one: tuple[Timing, Row], other: tuple[Timing, Row]) -> Comparison:
    """Items a second of ``one`` over those of ``other``, with the widest interval that their own ones allow."""
    (ours, our_row), (theirs, their_row) = one, other
    estimate = quotient(
        per_second(ours, our_row["items per step"]),
        per_second(theirs, their_row["items per step"]),
    )
    return Comparison(estimate=estimate, neutral=1.0, processes=min(ours.processes, theirs.processes))


def ratio_cell(found: Comparison | None) -> str:
    """With both ends of its interval, which are seldom equally far."""
    if found is None:
        return ABSENT
    ends = found.estimate.interval
    return ranged(found.estimate.value, *((ends.low, ends.high) if ends else (None, None)))


def difference_cell(found: Comparison | None) -> str:
    """In points, and whether the interval leaves open that there is none."""
    if found is None:
        return ABSENT
    open_ = {"across": " (0 inside)", "unknown": ""}.get(found.side, " (0 outside)")
    return points(found.estimate.value, found.error) + open_


def hidden(compared: Sequence[Comparison]) -> str:
    """How large a difference could hide behind the widest interval that has 0 inside; empty where there is none."""
    widths = [found.error for found in compared if found.side == "across" and found.error]
    return f"differences of up to {number(100 * max(widths), 2)} points could hide" if widths else ""


def seeds_words(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _pairs(one: Group, other: Group, quantity: Quantity) -> list[tuple[float, float]]:
    theirs = {row["seed"]: quantity(row) for row in other.rows}
    pairs = [(quantity(row), theirs.get(row["seed"])) for row in one.rows]
    return [(ours, their) for ours, their in pairs if ours is not None and their is not None]


def _rate(row: Row) -> float | None:
    return float(row["items per step"] / row["median [s]"])
