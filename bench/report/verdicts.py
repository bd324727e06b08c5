"""What the rows say of a claim: that it holds, or not, or why they cannot judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.markdown import ABSENT
from bench.report.rows import Side


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``words`` is *holds*, *does not hold*, *holds in n of m*, or *cannot be judged* and why."""

    words: str
    rows: str


def unjudged(why: str, rows: str = ABSENT) -> Verdict:
    return Verdict(words=f"cannot be judged: {why}", rows=rows)


def holds_in(count: int, total: int) -> str:
    if count == 0:
        return "does not hold"
    return "holds" if count == total else f"holds in {count} of {total}"


def by_sides(found: Sequence[Side], rows: str, *, unknown: str, across: str) -> Verdict:
    """Of sides of intervals, where *above* is what the claim says.

    ``unknown`` and ``across`` say why nothing is judged where no side has an interval, and where none can be told.
    """
    known = [side for side in found if side != "unknown"]
    if not known:
        return unjudged(unknown, rows)
    if set(known) == {"across"}:
        return unjudged(across, rows)
    return Verdict(words=holds_in(known.count("above"), len(known)), rows=rows)
