"""How one pick is told: its name and its numbers, its marks, and what it was picked among."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.cells import marks
from bench.report.front import Candidate, Rung, round_limit
from bench.report.markdown import escape, listing, megabytes, number, plus_minus, small_percent
from bench.report.rows import BASELINES, Row
from bench.report.statistics import Estimate

FEW = "fewer than six samples"
"""Why a row has no interval: the median's takes six."""
NAMED = 4
"""Rows not told apart from the fastest that a pick names at most."""


@dataclass(frozen=True, kw_only=True)
class Picks:
    lines: tuple[str, ...] = ()
    """Blocks of Markdown."""
    rows: tuple[Row, ...] = ()
    """What was picked: what a reader must know of these counts most."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is told of a candidate."""

    name: Callable[[Candidate], str]
    speed: Callable[[Candidate], str]
    """The quantity that candidates are ranked by."""
    facts: Callable[[Candidate], Sequence[str]]
    """What stands behind the speed."""

    def whole(self, one: Candidate) -> str:
        """Name, numbers and marks."""
        told = ", ".join((self.speed(one), *self.facts(one)))
        marked = escape(", ".join(candidate_marks(one)))
        return f"{self.name(one)} ({told}{f'; *{marked}*' if marked else ''})"


def first_pick(rung: Rung, words: Words) -> str:
    """The pick for speed, said to be the fastest only if it is."""
    pick, others = words.whole(rung.pick), list(dict.fromkeys(words.name(one) for one in rung.others))
    if rung.pick is rung.fastest:
        return f"fastest is {pick}" + (f", not told apart from {listing(others, most=NAMED)}" if others else "")
    beside = f"; nor {'are' if len(others) > 1 else 'is'} {listing(others, most=NAMED)}" if others else ""
    level = f"not told apart from the fastest ({words.name(rung.fastest)}, {words.speed(rung.fastest)}{beside})"
    if rung.pick.size == rung.fastest.size:
        return f"without compiling, and {level}, {pick}"
    return f"smallest of those {level} is {pick}"


def smaller_pick(rung: Rung, before: Candidate, words: Words) -> str:
    """The next pick of fewer bytes than ``before``."""
    limit = round_limit(rung.pick.size)
    lead = "smaller, " if limit >= before.size else f"in under {number(limit / 1e6, 1)} MB "
    return f"{lead}{words.whole(rung.pick)}"


def candidate_marks(one: Candidate) -> list[str]:
    """Of all that was measured for it."""
    if one.first_token is None:
        return marks(one.row)
    return [f"{row['experiment']}: {mark}" for row in (one.first_token, one.row) for mark in marks(row)]


def gain(row: Row, same_mode: Estimate | None, eager: Estimate | None) -> list[str]:
    """What the precision does, in the mode of the row; in brackets the whole gain. Nothing of fp32 eager itself."""
    precision, mode = row["precision"], row["mode"]
    if (precision, mode) == BASELINES or (same_mode is None and eager is None):
        return []
    if precision == BASELINES[0] or same_mode is None:
        how = ", by compiling alone" if precision == BASELINES[0] else ""
        return [f"{_times(eager)} × as fast as fp32 eager{how}"] if eager else []
    whole = f" ({eager.value:.2f} × as fp32 eager)" if eager and mode != BASELINES[1] else ""
    return [f"{_times(same_mode)} × as fast as fp32 {escape(mode)}{whole}"]


def _times(ratio: Estimate) -> str:
    return plus_minus(ratio.value, ratio.interval.error(ratio.value) if ratio.interval else None)


def compiling(row: Row) -> list[str]:
    seconds = row["cold compile [s]"]
    return [f"compiled in {number(seconds)} s"] if seconds else []


def size(row: Row) -> str:
    share = row["weights over fp32 [1]"]
    of = "" if share is None or row["precision"] == BASELINES[0] else f", {small_percent(share)} % of fp32's"
    return f"{megabytes(row['weights [B]'])} MB{of}"


def left_out(reasons: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A line that names what could not be considered, by reason; nothing where all was."""
    told = [f"{why}: {listing(names, most=len(names))}" for why, names in reasons if names]
    return [f"Not considered, {'; '.join(told)}."] if told else []


def unusable(found: Sequence[Candidate], name: Callable[[Candidate], str]) -> list[tuple[str, list[str]]]:
    """By reason, those that cannot be held against others."""
    few = [one for one in found if one.time.interval is None]
    unweighed = [one for one in found if one.time.interval is not None and one.row["weights [B]"] is None]
    return [(FEW, [name(one) for one in few]), ("weights not counted", [name(one) for one in unweighed])]
