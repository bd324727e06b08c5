"""Which rows are worth picking: accurate, fast and small, by differences that show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.rows import ONE_PROCESS, PLACE, Row, grouped, hardly_converted, is_meaningless, one_accuracy

SETTING = ("dataset", "image size [px]", "batch size", "seed", *PLACE)
"""What rows share that are alternatives to one another."""
SURE = 2
"""Standard errors by which an accuracy must be above a floor to count as above it."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The row to pick, and those that are told apart from it neither in speed nor by smaller weights."""

    row: Row
    level: tuple[Row, ...]


def comparable(rows: Sequence[Row]) -> dict[tuple[object, ...], list[Row]]:
    """The rows that stand for their precision and have an accuracy, by setting."""
    telling = [row for row in rows if one_accuracy(row) is not None]
    telling = [row for row in telling if not is_meaningless(row) and not hardly_converted(row)]
    return grouped(telling, SETTING)


def outermost(rows: Sequence[Row]) -> list[Row]:
    """By the values as measured: each row is more accurate than every faster one. Fastest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row["median [s]"], -(one_accuracy(row) or 0.0))):
        if not front or (one_accuracy(row) or 0.0) > (one_accuracy(front[-1]) or 0.0):
            front.append(row)
    return front


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


def ladder(rows: Sequence[Row], is_slower: Callable[[Row, Row], bool] = slower) -> list[Rung]:
    """The row to pick for speed, then the one among those of fewer bytes of weights, and so on to the smallest.

    Of rows that are not told apart in speed from the fastest, the smallest is picked. Rows without an interval, or
    whose weights were not counted, cannot be picked.
    """
    found: list[Rung] = []
    usable = [row for row in rows if row["median from [s]"] is not None and row["weights [B]"] is not None]
    left = sorted(usable, key=lambda row: float(row["median [s]"]))
    while left:
        level = [row for row in left if not is_slower(left[0], row)]
        pick = min(level, key=lambda row: (row["weights [B]"], row["median [s]"]))
        found.append(Rung(row=pick, level=tuple(row for row in level if row is not pick)))
        left = [row for row in left if row["weights [B]"] < pick["weights [B]"]]
    return found


def round_limit(size: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is above ``size``."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power > size)
