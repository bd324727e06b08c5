"""Which rows are worth picking: accurate, fast and small, by differences that show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.pairs import AGREEMENT, EAGER, FP32, judged
from bench.report.rows import ONE_PROCESS, PLACE, Row, grouped, hardly_converted, is_meaningless, one_accuracy
from bench.report.statistics import Difference, Estimate

SETTING = ("dataset", "image size [px]", "batch size", "seed", *PLACE)
"""What rows share that are alternatives to one another."""
SURE = 2
"""Standard errors by which an accuracy must be above a floor, or above another one, to count as above it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A row that may be picked, with the time that it is ranked by: seconds, and their interval."""

    row: Row
    time: Estimate
    first_token: Row | None = None
    """The row of a language model's first token, where the time is that of a whole answer."""

    @property
    def size(self) -> int:
        """Bytes of the weights, in a candidate that is `usable`."""
        return int(self.row["weights [B]"])

    @property
    def usable(self) -> bool:
        """Whether it can be held against others: it has an interval, and its weights were counted."""
        return self.time.interval is not None and self.row["weights [B]"] is not None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What to pick, the fastest of those that it was picked among, and the others not told apart from the fastest."""

    pick: Candidate
    fastest: Candidate
    others: tuple[Candidate, ...]


def comparable(rows: Sequence[Row]) -> dict[tuple[object, ...], list[Row]]:
    """The rows that stand for their precision and have an accuracy, by setting."""
    telling = [row for row in rows if one_accuracy(row) is not None]
    telling = [row for row in telling if not is_meaningless(row) and not hardly_converted(row)]
    return grouped(telling, SETTING)


def outermost(rows: Sequence[Row]) -> list[Row]:
    """The fastest row, then each that is surely more accurate than the one before. Fastest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row["median [s]"], -(one_accuracy(row) or 0.0))):
        if not front or surely_more(accuracy_difference(row, front[-1])):
            front.append(row)
    return front


def accuracy_difference(one: Row, other: Row) -> Difference:
    """``one`` less ``other``. Rows of the same weights are held against their fp32 image by image, and so against each
    other; the rest have errors as if each had test images of its own."""
    ours, theirs = _to_fp32(one), _to_fp32(other)
    if ours is not None and theirs is not None and judged(one) == judged(other):
        error = math.hypot(ours.standard_error, theirs.standard_error)
        return Difference(value=ours.value - theirs.value, standard_error=error)
    error = math.hypot(*(row["quality standard error [1]"] or 0.0 for row in (one, other)))
    return Difference(value=(one_accuracy(one) or 0.0) - (one_accuracy(other) or 0.0), standard_error=error)


def surely_more(difference: Difference) -> bool:
    return difference.value > 0 and difference.beyond(SURE)


def surely_less(difference: Difference) -> bool:
    return difference.value < 0 and difference.beyond(SURE)


def _to_fp32(row: Row) -> Difference | None:
    """0 for the row that the others are held against; None where nothing was compared image by image."""
    if row[AGREEMENT[2]] is not None:
        return Difference(value=row[AGREEMENT[2]], standard_error=row[AGREEMENT[3]])
    judged = row["precision"] == FP32 and row["predictions sha256"] is not None
    return Difference(value=0.0, standard_error=0.0) if judged else None


def surely_above(row: Row, floor: float) -> bool:
    """Whether the accuracy is above ``floor``, a fraction of 1, by more than chance explains."""
    accuracy, error = one_accuracy(row), row["quality standard error [1]"]
    return accuracy is not None and error is not None and accuracy - SURE * error >= floor


def slower(one: Row, other: Row, name: str = "median") -> bool:
    """Whether ``other`` takes longer by their intervals, which do not overlap: by the rule that ratios go by.

    ``name`` is ``median`` or another time that the frame has with an interval.
    """
    ends = one[f"{name} to [s]"], other[f"{name} from [s]"]
    floor = max(row.get("noise floor [1]") or 0.0 for row in (one, other))
    margin = max(ONE_PROCESS, 1 + floor) if min(one["repeats"], other["repeats"]) < 2 else 1.0
    return None not in ends and margin * ends[0] < ends[1]


def by_latency(row: Row) -> Candidate:
    """Ranked by the median of single calls."""
    timing = row["timing"]
    return Candidate(row=row, time=Estimate(value=timing.median, interval=timing.interval))


def slower_row(one: Candidate, other: Candidate) -> bool:
    """`slower` of candidates `by_latency`."""
    return slower(one.row, other.row)


def ladder(found: Sequence[Candidate], is_slower: Callable[[Candidate, Candidate], bool] = slower_row) -> list[Rung]:
    """What to pick for speed, then among those of fewer bytes of weights, and so on to the smallest.

    Of those that are not told apart in speed from the fastest, the smallest is picked; of equal sizes an eager one,
    which has nothing to compile. Candidates that are not usable are left out.
    """
    rungs: list[Rung] = []
    left = sorted((one for one in found if one.usable), key=lambda one: one.time.value)
    while left:
        level = [one for one in left if not is_slower(left[0], one)]
        pick = min(level, key=lambda one: (one.size, one.row["mode"] != EAGER, one.time.value))
        others = tuple(one for one in level if one is not pick and one is not left[0])
        rungs.append(Rung(pick=pick, fastest=left[0], others=others))
        left = [one for one in left if one.size < pick.size]
    return rungs


def round_limit(size: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is above ``size``."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power > size)
