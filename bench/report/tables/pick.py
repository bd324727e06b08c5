"""What to pick: for each accuracy or perplexity the fastest row, and the smaller ones, by differences that show."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import accuracy_cell, throughput_cell, variant, with_error
from bench.report.contents import Contents, place_words
from bench.report.front import Rung, comparable, ladder, round_limit, surely_above
from bench.report.language_lines import FP32, LanguageGroup, LanguageLine, over
from bench.report.markdown import ABSENT, bullets, escape, listing, megabytes, number, small_percent
from bench.report.perplexity import Change
from bench.report.rows import BASELINES, ONE_PROCESS, Row, hardly_converted, is_meaningless, one_accuracy
from bench.report.statistics import student_factor
from bench.report.tables import findings
from bench.report.tables.language_tables import change_words, perplexity_change, setting_words

STEP = 0.05
"""Floors of accuracy are multiples of this."""
FLOORS = 4
"""Floors of accuracy, and ceilings of perplexity, that a setting shows at most."""
RUNGS = 3
"""Rows that one floor names at most: the fastest, and smaller ones."""
CEILINGS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""How much more perplexity than fp32's may be allowed."""
RULE = (
    "Only differences that show count. A row reaches an accuracy if it lies 2 standard errors above it; latencies "
    "differ if their 95 % intervals do not overlap and, where one process measured a row, they are "
    f"{100 * (ONE_PROCESS - 1):.0f} % apart besides (the noise floor, where that is more; decoding on a CPU a factor "
    "of 2); a change of perplexity counts with the upper end of its 95 % interval, and is that of the precision in the "
    "first mode that was judged. Of rows that are not told apart in speed, the one of the smallest weights is named. "
    "MB are the weights as stored."
)


def section(contents: Contents) -> str:
    """The second thing that a reader sees: sentences only, then what to be careful about."""
    lines = [line for members in comparable(contents.inferences).values() for line in _setting(contents, members)]
    lines += [line for group in contents.languages for line in _language(group)]
    cautions = bullets(findings.cautions(contents))
    if not lines:
        return "\n\n".join(filter(None, ("## What to pick", f"{_why_nothing(contents)}.", cautions)))
    careful = ("**Read with care**", cautions) if cautions else ()
    return "\n\n".join(("## What to pick", RULE, *lines, *careful))


def _why_nothing(contents: Contents) -> str:
    if not len(contents.frame):
        return "Nothing: nothing was measured"
    if set(contents.frame["budget"]) == {"smoke"}:
        return "Nothing: the smoke budget's figures mean nothing"
    return "Nothing: no two rows with an accuracy or a decoding speed can be held against one another"


def _setting(contents: Contents, rows: Sequence[Row]) -> list[str]:
    """Rows that are alternatives: a line for each accuracy that some of them reach, highest first."""
    if len(rows) < 2:
        return []
    first, told = rows[0], place_words(contents.inferences, rows[0])
    seeds = {row["seed"] for row in contents.inferences}
    told += [f"seed {first['seed']}"] if len(seeds) > 1 else []
    title = ", ".join((f"batch {first['batch size']}", f"{first['image size [px]']} px", first["dataset"], *told))
    lines, above = [], None
    for floor, rungs in _floors(rows):
        named = [_picked(rung, before) for rung, before in zip(rungs, (None, *rungs), strict=False)]
        if above is not None and rungs[0].row is above:
            named[0] = "as before"
        lines.append(f"**{100 * floor:.0f} % accuracy and more:** {'; '.join(named[:RUNGS])}.")
        above = rungs[0].row
    return [f"**Classifiers, {escape(title)}**", bullets(lines)] if lines else []


def _floors(rows: Sequence[Row]) -> list[tuple[float, list[Rung]]]:
    """Each floor with what to pick there, where that is something else than at the next higher floor."""
    found: list[tuple[float, list[Rung]]] = []
    best = max(one_accuracy(row) or 0.0 for row in rows)
    for step in range(int(best / STEP), 0, -1):
        floor = step * STEP
        rungs = ladder([row for row in rows if surely_above(row, floor)])
        if rungs and (not found or [rung.row for rung in rungs] != [rung.row for rung in found[-1][1]]):
            found.append((floor, rungs))
    return found[:FLOORS]


def _picked(rung: Rung, before: Rung | None) -> str:
    """One row with its numbers. ``before`` is the faster and larger one, None for the fastest."""
    row = rung.row
    limit = _limit(row, before)
    facts = [
        f"{with_error(row, 'median', scale=1e3)} ms",
        f"{accuracy_cell(row)} %",
        f"{megabytes(row['weights [B]'])} MB",
    ]
    facts += _gain(row) if before is None else []
    named = f"{limit}{variant(row)} ({', '.join(facts)})"
    return named + (_level(rung, [variant(other) for other in rung.level]) if before is None else "")


def _limit(row: Row, before: Rung | None) -> str:
    if before is None:
        return "fastest is "
    limit = round_limit(row["weights [B]"])
    if limit >= before.row["weights [B]"]:
        return "smaller, "
    return f"in under {number(limit / 1e6, 1)} MB "


def _level(rung: Rung, names: Sequence[str]) -> str:
    return f", not told apart in speed from {listing(list(dict.fromkeys(names)), most=3)}" if rung.level else ""


def _gain(row: Row) -> list[str]:
    """Beside the usual way of running the network."""
    ratio = row["speed-up over fp32 eager [1]"]
    if ratio is None or (row["precision"], row["mode"]) == BASELINES:
        return []
    share = small_percent(row["weights over fp32 [1]"])
    stored = f" with {share} % of its bytes" if share != ABSENT and row["precision"] != BASELINES[0] else ""
    return [f"{ratio:.2f} × as fast as fp32 eager{stored}"]


def _language(group: LanguageGroup) -> list[str]:
    """Decoding at the headline setting: a line for each perplexity that may be given up for speed or size."""
    if is_meaningless(group.first):
        return []
    headline = group.headline("decode")
    pairs = [(line, row) for line in group.lines if (row := line.at("decode", headline)) is not None]
    pairs = [(line, row) for line, row in pairs if not hardly_converted(row)]
    if headline is None or len(pairs) < 2:
        return []
    lines = [f"**{name}:** {'; '.join(_decoded(group, rungs))}." for name, rungs in _ceilings(group, pairs)]
    where = ", ".join(
        (group.model, setting_words(headline), *(() if group.text is None else (f"text {group.text[0]}",)))
    )
    intro = f"**Language model {escape(where)}**{group.carried}"
    return [intro, bullets(lines)] if lines else []


def _ceilings(group: LanguageGroup, pairs: Sequence[tuple[LanguageLine, Row]]) -> list[tuple[str, list[Rung]]]:
    """What may be picked at each loss of perplexity; all rows together where no perplexity was judged."""
    changes = {line.precision: _change(group, line.precision) for line, _ in pairs}
    if not any(changes.values()):
        return [("Perplexity was not judged", ladder([row for _, row in pairs], _slower))]
    found: list[tuple[str, list[Rung]]] = []
    for ceiling in CEILINGS:
        rows = [row for line, row in pairs if line.precision == FP32 or _within(changes[line.precision], ceiling)]
        rungs = ladder(rows, _slower)
        if rungs and (not found or [rung.row for rung in rungs] != [rung.row for rung in found[-1][1]]):
            found.append((f"At most {100 * ceiling:.0f} % more perplexity", rungs))
    return found[:FLOORS]


def _change(group: LanguageGroup, precision: str) -> Change | None:
    """Of the first row of that precision that was judged: the weights are the same in every mode."""
    rows = [row for line in group.lines if line.precision == precision for row in line.of("perplexity")]
    return next((found for row in rows if (found := perplexity_change(group, row)) is not None), None)


def _within(change: Change | None, ceiling: float) -> bool:
    """Whether the loss is at most ``ceiling`` by the upper end of its 95 % interval."""
    if change is None or change.standard_error is None:
        return False
    return change.ratio - 1 + student_factor(change.windows) * change.standard_error <= ceiling


def _slower(one: Row, other: Row) -> bool:
    return over(other, one)[1] == "below"


def _decoded(group: LanguageGroup, rungs: Sequence[Rung]) -> list[str]:
    told = []
    for rung, before in list(zip(rungs, (None, *rungs), strict=False))[:RUNGS]:
        row, change = rung.row, _change(group, rung.row["precision"])
        name, *names = (escape(f"{one['precision']} {one['mode']}") for one in (row, *rung.level))
        facts = [f"{throughput_cell(row)} tokens/s", f"{megabytes(row['weights [B]'])} MB"]
        facts += [f"perplexity {change_words(change)} %"] if change else []
        told.append(f"{_limit(row, before)}{name} ({', '.join(facts)}){_level(rung, names)}")
    return told
