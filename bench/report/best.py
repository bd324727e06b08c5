"""Which cells of a column stand out: the best, where every other row is told apart from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.front import SURE, slower
from bench.report.markdown import ABSENT, Strong
from bench.report.rows import Row, hardly_converted, one_accuracy


def best_of(best: Sequence[Row], row: Row, cell: str) -> str:
    """``cell``, standing out if ``row`` is among the ``best``."""
    return Strong(cell) if cell != ABSENT and any(row is one for one in best) else cell


def shortest(rows: Sequence[Row], name: str) -> list[Row]:
    """The row of the shortest ``name`` if the interval of every other one lies above its own."""
    known = [row for row in rows if row[f"{name} [s]"] is not None and not hardly_converted(row)]
    ranked = sorted(known, key=lambda row: float(row[f"{name} [s]"]))
    if len(ranked) < 2 or not all(slower(ranked[0], row, name) for row in ranked[1:]):
        return []
    return ranked[:1]


def least(rows: Sequence[Row]) -> list[Row]:
    """All rows of the fewest bytes of weights, which are exact, unless every row has as many."""
    known = [row for row in rows if row["weights [B]"] is not None and not hardly_converted(row)]
    fewest = min((row["weights [B]"] for row in known), default=None)
    found = [row for row in known if row["weights [B]"] == fewest]
    return found if len(found) < len(known) else []


def most_accurate(rows: Sequence[Row]) -> list[Row]:
    """The most accurate row if every other one is less accurate by more than their errors explain."""
    known = [row for row in rows if one_accuracy(row) is not None and not hardly_converted(row)]
    ranked = sorted(known, key=lambda row: -float(row["quality [1]"]))
    if len(ranked) < 2 or not all(_less_accurate(ranked[0], row) for row in ranked[1:]):
        return []
    return ranked[:1]


def _less_accurate(one: Row, other: Row) -> bool:
    """As if each had test images of its own, which is rather too careful for those that share them."""
    error = math.hypot(one["quality standard error [1]"] or 0.0, other["quality standard error [1]"] or 0.0)
    return bool(one["quality [1]"] - other["quality [1]"] > SURE * error)
