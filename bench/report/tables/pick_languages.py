"""Which precision of a language model to pick: by the time of an answer, for each perplexity that may be given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.answers import Answers, answers, slower_answer
from bench.report.cells import throughput_cell, with_error
from bench.report.contents import Contents
from bench.report.front import Candidate, Rung, ladder
from bench.report.language_lines import EAGER, FP32, LanguageGroup
from bench.report.markdown import bullets, escape, megabytes, plus_minus
from bench.report.perplexity import Change
from bench.report.rows import Row, is_meaningless
from bench.report.statistics import Estimate, quotient, student_factor
from bench.report.tables.language_tables import change_words, perplexity_change, setting_words
from bench.report.tables.picked import Picks, Words, compiling, first_pick, gain, left_out, size, unusable

CEILINGS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""How much more perplexity than fp32's may be allowed."""
NOTABLY = 0.9
"""Share of its bytes below which a row is called smaller than another one, where it costs perplexity or speed."""
RULE = (
    "An answer takes the first token (prefill, of the same precision run eagerly where that mode has none) and p50 for "
    "each further one; loading and compiling are not in it. Answers differ if their 95 % intervals do not overlap and, "
    "where one process measured a row, they are 10 % apart besides (on a CPU a factor of 2). Of rows not told apart "
    "from the fastest, the one of the smallest weights is picked, of equal ones an eager one. A change of perplexity "
    "counts with the upper end of its 95 % interval, and is that of the precision in the first mode that was judged; "
    "more of it is given up only for speed that shows, else for bytes. MB are the weights as stored."
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to pick where perplexity may rise by ``ceiling`` at most; None where it was not judged."""

    ceiling: float | None
    rung: Rung


def picks(contents: Contents) -> Picks:
    found = [some for group in contents.languages if (some := _group(group)).lines]
    if not found:
        return Picks()
    lines = (RULE, *(line for some in found for line in some.lines))
    return Picks(lines=lines, rows=tuple(row for some in found for row in some.rows))


def _group(group: LanguageGroup) -> Picks:
    asked = answers(group)
    if is_meaningless(group.first) or asked is None or len(asked.found) + len(asked.without) < 2:
        return Picks()
    changes = {one.row["precision"]: _change(group, one.row["precision"]) for one in asked.found}
    quick, small = _choices(asked.found, changes)
    if not quick:
        return Picks()
    words = _words(asked, changes)
    lines = [f"**{_label(choice, changes)}:** {first_pick(choice.rung, words)}." for choice in quick]
    fewer = "; ".join(words.whole(choice.rung.pick) for choice in small)
    lines += [f"**For fewer bytes, with no gain in speed that shows:** {fewer}."] if small else []
    picked = [row for choice in (*quick, *small) for row in _measured(choice.rung.pick)]
    return Picks(lines=(_intro(group, asked), bullets(lines), *_left_out(asked, changes)), rows=tuple(picked))


def _intro(group: LanguageGroup, asked: Answers) -> str:
    told = [group.model, setting_words(asked.setting)]
    told += [] if group.text is None else [f"text {group.text[0]}"]
    told += [] if asked.whole else ["by decoding alone: no first token was measured"]
    return f"**Language model {escape(', '.join(told))}**{group.carried}"


def _measured(one: Candidate) -> list[Row]:
    return [row for row in (one.first_token, one.row) if row is not None]


def _choices(found: Sequence[Candidate], changes: dict[str, Change | None]) -> tuple[list[Choice], list[Choice]]:
    """For speed: the first ceiling that a row keeps, and each looser one that makes answers faster. For bytes: what is
    notably smaller than all of lower ceilings."""
    quick: list[Choice] = []
    small: list[Choice] = []
    least = float("inf")
    for ceiling in CEILINGS if any(changes.values()) else (None,):
        rows = [one for one in found if _kept(one, changes, ceiling)]
        rungs = ladder(rows, slower_answer)[:1]
        if rungs and (not quick or slower_answer(rungs[0].fastest, quick[-1].rung.fastest)):
            quick.append(Choice(ceiling=ceiling, rung=rungs[0]))
            least = min(least, rungs[0].pick.size)
        for rung in ladder([one for one in rows if one.usable and one.size < NOTABLY * least], slower_answer):
            if rung.pick.size < NOTABLY * least:
                small.append(Choice(ceiling=ceiling, rung=rung))
                least = rung.pick.size
    return quick, small


def _kept(one: Candidate, changes: dict[str, Change | None], ceiling: float | None) -> bool:
    precision = one.row["precision"]
    return ceiling is None or precision == FP32 or _within(changes[precision], ceiling)


def _change(group: LanguageGroup, precision: str) -> Change | None:
    """Of the first row of that precision that was judged: the weights are the same in every mode."""
    rows = [row for line in group.lines if line.precision == precision for row in line.of("perplexity")]
    return next((found for row in rows if (found := perplexity_change(group, row)) is not None), None)


def _within(change: Change | None, ceiling: float) -> bool:
    """Whether the loss is at most ``ceiling`` by the upper end of its 95 % interval."""
    if change is None or change.standard_error is None:
        return False
    return change.ratio - 1 + student_factor(change.windows) * change.standard_error <= ceiling


def _label(choice: Choice, changes: dict[str, Change | None]) -> str:
    precision = choice.rung.pick.row["precision"]
    change = changes[precision]
    if choice.ceiling is None:
        return "Perplexity was not judged"
    if precision == FP32 or change is None:
        return "fp32's perplexity"
    return f"Perplexity {change_words(change)} % (at most {100 * choice.ceiling:.0f} % more)"


def _words(asked: Answers, changes: dict[str, Change | None]) -> Words:
    plain = {(one.row["precision"], one.row["mode"]): one.time for one in asked.found}

    def facts(one: Candidate) -> list[str]:
        row, first, change = one.row, one.first_token, changes[one.row["precision"]]
        ratios = (_over(plain.get((FP32, mode)), one.time) for mode in (row["mode"], EAGER))
        return [
            f"{throughput_cell(row)} tokens/s",
            *([f"first token {with_error(first, 'median', scale=1e3)} ms"] if first else []),
            *gain(row, *ratios),
            *compiling(row),
            size(row),
            *([f"perplexity {change_words(change)} %"] if change else []),
        ]

    return Words(name=_name, speed=_answer_words if asked.whole else _token_words, facts=facts)


def _over(baseline: Estimate | None, time: Estimate) -> Estimate | None:
    return quotient(baseline, time) if baseline else None


def _name(one: Candidate) -> str:
    return _variant(one.row)


def _variant(row: Row) -> str:
    return escape(f"{row['precision']} {row['mode']}")


def _answer_words(one: Candidate) -> str:
    return f"{_seconds(one.time, 1)} s an answer"


def _token_words(one: Candidate) -> str:
    return f"{_seconds(one.time, 1e3)} ms a token"


def _seconds(time: Estimate, scale: float) -> str:
    return plus_minus(time.value, time.interval.error(time.value) if time.interval else None, scale)


def _left_out(asked: Answers, changes: dict[str, Change | None]) -> list[str]:
    """By reason, with the numbers that there are: a row may be left out and fast."""
    speed = _answer_words if asked.whole else _token_words
    reasons = unusable(asked.found, lambda one: f"{_name(one)} ({speed(one)}, {megabytes(one.row['weights [B]'])} MB)")
    rest = [one for one in asked.found if one.usable and one.row["precision"] != FP32 and any(changes.values())]
    unjudged = [_name(one) for one in rest if changes[one.row["precision"]] is None]
    worse = [_name(one) for one in rest if changes[one.row["precision"]] and not _kept(one, changes, CEILINGS[-1])]
    return left_out(
        (
            *reasons,
            ("no first token was measured", [_variant(row) for row in asked.without]),
            ("perplexity was not judged", unjudged),
            (f"not surely below {100 * CEILINGS[-1]:.0f} % more perplexity", worse),
        )
    )
