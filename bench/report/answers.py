"""How long a language model takes to answer: the first token, then each further one."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.front import Candidate
from bench.report.language_lines import EAGER, LanguageGroup, LanguageLine, Setting, setting, side
from bench.report.rows import Row, hardly_converted
from bench.report.statistics import Estimate, Interval, quotient


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The decoding rows of one setting, ranked alike: by whole answers where first tokens were measured."""

    setting: Setting
    found: tuple[Candidate, ...]
    whole: bool
    """Whether times are those of whole answers, and not those between two tokens."""
    without: tuple[Row, ...]
    """Rows that no first token was measured for, where others have one."""


def answers(group: LanguageGroup) -> Answers | None:
    """At the headline setting; None where nothing was decoded. Rows that hardly converted anything are left out."""
    headline = group.headline("decode")
    if headline is None:
        return None
    rows = [row for line in group.lines if (row := line.at("decode", headline)) is not None]
    pairs = [(row, _first_token(group, row, headline)) for row in rows if not hardly_converted(row)]
    if not any(first for _, first in pairs):
        return Answers(setting=headline, found=tuple(_token(row) for row, _ in pairs), whole=False, without=())
    return Answers(
        setting=headline,
        found=tuple(_answer(row, first, headline) for row, first in pairs if first),
        whole=True,
        without=tuple(row for row, first in pairs if not first),
    )


def slower_answer(one: Candidate, other: Candidate) -> bool:
    """Whether ``other`` takes longer, by the rule that decoding goes by."""
    rows = [row for each in (one, other) for row in (each.row, each.first_token) if row is not None]
    return side(quotient(one.time, other.time), *rows) == "below"


def _first_token(group: LanguageGroup, row: Row, wanted: Setting) -> Row | None:
    """Of the same precision, prompts and batch: in the mode of the row, else eager, which prefill runs in."""
    lines = [line for line in group.lines if line.precision == row["precision"]]
    by_mode = {line.mode: first for line in lines if (first := _prefill(line, wanted)) is not None}
    return by_mode.get(row["mode"]) or by_mode.get(EAGER)


def _prefill(line: LanguageLine, wanted: Setting) -> Row | None:
    return next((row for row in line.of("prefill") if setting(row)[:2] == wanted[:2]), None)


def _token(row: Row) -> Candidate:
    timing = row["timing"]
    return Candidate(row=row, time=Estimate(value=timing.median, interval=timing.interval))


def _answer(row: Row, first: Row, wanted: Setting) -> Candidate:
    """The median of the first token, and that between two tokens once for each further one."""
    before, between, further = first["timing"], row["timing"], max(0, wanted[2] - 1)
    value = before.median + further * between.median
    interval = _together(before.interval, between.interval, further)
    return Candidate(row=row, time=Estimate(value=value, interval=interval), first_token=first)


def _together(first: Interval | None, each: Interval | None, further: int) -> Interval | None:
    """Both ends added: the widest that the two intervals allow."""
    if first is None or each is None:
        return None
    return Interval(low=first.low + further * each.low, high=first.high + further * each.high)
