"""Which classifier to pick: by floors of accuracy over networks, or within each network where trainings were short."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import accuracy_cell, variant, with_error
from bench.report.contents import Contents, place_words
from bench.report.front import (
    SURE,
    Candidate,
    Rung,
    accuracy_difference,
    by_latency,
    comparable,
    ladder,
    surely_above,
    surely_less,
)
from bench.report.markdown import bullets, escape, points
from bench.report.rows import BASELINES, ONE_PROCESS, SPEED, Row, grouped, one_accuracy
from bench.report.statistics import Estimate, Interval
from bench.report.tables import findings
from bench.report.tables.picked import (
    Picks,
    Words,
    compiling,
    first_pick,
    gain,
    left_out,
    size,
    smaller_pick,
    unusable,
)

STEP = 0.05
"""Floors of accuracy are multiples of this."""
FLOORS = 4
"""Floors of accuracy that a setting shows at most."""
RUNGS = 3
"""Rows that one floor names at most: the fastest, and smaller ones."""
RULE = (
    "Only differences that show count: latencies differ if their 95 % intervals do not overlap and, where one process "
    f"measured a row, they are {100 * (ONE_PROCESS - 1):.0f} % apart besides (the noise floor, where that is more). Of "
    "rows not told apart from the fastest, the one of the smallest weights is picked, of equal ones an eager one. MB "
    "are the weights as stored."
)
BY_FLOOR = f"A row reaches an accuracy if it lies {SURE} standard errors above it."
BY_NETWORK = (
    f"A row is within the error of fp32's accuracy if it is not lower by {SURE} standard errors, paired by images."
)


def picks(contents: Contents) -> Picks:
    """Nothing where no two rows can be held against one another."""
    settings = [rows for rows in comparable(contents.inferences).values() if len(rows) > 1]
    short = [rows for rows in settings if findings.shortened_words(rows, contents.trainings)]
    whole = [rows for rows in settings if not findings.shortened_words(rows, contents.trainings)]
    found = [_setting(contents, rows) for rows in whole]
    found += [_networks(contents, rows) for rows in short]
    found = [some for some in found if some.lines]
    if not found:
        return Picks()
    rules = " ".join((RULE, *((BY_FLOOR,) if whole else ()), *((BY_NETWORK,) if short else ())))
    cautions = findings.shortened_words([row for rows in short for row in rows], contents.trainings)
    lines = [rules, *cautions, *(line for some in found for line in some.lines)]
    return Picks(lines=tuple(lines), rows=tuple(row for some in found for row in some.rows))


def _title(contents: Contents, row: Row) -> str:
    told = place_words(contents.inferences, row)
    told += [f"seed {row['seed']}"] if len({other["seed"] for other in contents.inferences}) > 1 else []
    return escape(", ".join((f"batch {row['batch size']}", f"{row['image size [px]']} px", row["dataset"], *told)))


def _setting(contents: Contents, rows: Sequence[Row]) -> Picks:
    """Rows that are alternatives: a line for each accuracy that some of them reach, highest first."""
    found = [by_latency(row) for row in rows]
    words = Words(name=lambda one: variant(one.row), speed=_speed, facts=_facts)
    lines: list[str] = []
    picked: list[Row] = []
    above: Row | None = None
    for floor, rungs in _floors(found):
        shown = rungs[:RUNGS]
        lead = "as before" if rungs[0].pick.row is above else first_pick(rungs[0], words)
        pairs = zip(shown[1:], shown, strict=False)
        named = [lead, *(smaller_pick(rung, before.pick, words) for rung, before in pairs)]
        lines.append(f"**{100 * floor:.0f} % accuracy and more:** {'; '.join(named)}.")
        picked += [rung.pick.row for rung in shown]
        above = rungs[0].pick.row
    if not lines:
        return Picks()
    out = left_out(unusable(found, words.name))
    title = f"**Classifiers, {_title(contents, rows[0])}**"
    return Picks(lines=(title, bullets(lines), *out), rows=tuple(picked))


def _floors(found: Sequence[Candidate]) -> list[tuple[float, list[Rung]]]:
    """Each floor with what to pick there, where that is something else than at the next higher floor."""
    floors: list[tuple[float, list[Rung]]] = []
    best = max(one_accuracy(one.row) or 0.0 for one in found)
    for step in range(int(best / STEP), 0, -1):
        floor = step * STEP
        rungs = ladder([one for one in found if surely_above(one.row, floor)])
        if rungs and (not floors or _rows(rungs) != _rows(floors[-1][1])):
            floors.append((floor, rungs))
    return floors[:FLOORS]


def _rows(rungs: Sequence[Rung]) -> list[int]:
    return [id(rung.pick.row) for rung in rungs]


def _networks(contents: Contents, rows: Sequence[Row]) -> Picks:
    """A line a network: no network is held against another one."""
    networks = [members for members in grouped(rows, ("model", "recipe")).values() if len(members) > 1]
    models = [members[0]["model"] for members in networks]
    found = [_network(members, models.count(members[0]["model"]) > 1) for members in networks]
    told = [line for some in found for line in some.lines]
    if not told:
        return Picks()
    out = left_out(unusable([by_latency(row) for row in rows], lambda one: variant(one.row)))
    title = f"**Classifiers, each by itself, {_title(contents, rows[0])}**"
    return Picks(lines=(title, bullets(told), *out), rows=tuple(row for some in found for row in some.rows))


def _network(rows: Sequence[Row], several: bool) -> Picks:
    """The fastest and the smallest row that are as accurate as fp32, then what is smaller at a loss that shows."""
    reference = next((row for row in rows if row["precision"] == BASELINES[0]), None)
    rungs = ladder([by_latency(row) for row in rows if reference is not None and _as_accurate(row, reference)])
    if reference is None or not rungs:
        return Picks()
    words = Words(name=_variant, speed=_speed, facts=lambda one: [*_facts(one), *_change(one.row, reference)])
    shown = [rungs[0], *rungs[1:][-1:]]
    told = [first_pick(rungs[0], words)]
    told += [f"smallest within it is {words.whole(rung.pick)}" for rung in shown[1:]] or [
        "no smaller row considered is within it"
    ]
    lossy = [rung for rung in ladder([by_latency(row) for row in rows]) if rung.pick.size < shown[-1].pick.size][-1:]
    told += [f"smaller, but less accurate, is {words.whole(rung.pick)}" for rung in lossy]
    recipe = f" ({rows[0]['recipe']})" if several else ""
    line = f"**{escape(rows[0]['model'] + recipe)}**, within the error of fp32's accuracy: {'; '.join(told)}."
    return Picks(lines=(line,), rows=tuple(rung.pick.row for rung in (*shown, *lossy)))


def _as_accurate(row: Row, reference: Row) -> bool:
    return row is reference or not surely_less(accuracy_difference(row, reference))


def _change(row: Row, reference: Row) -> list[str]:
    if row["precision"] == BASELINES[0]:
        return []
    found = accuracy_difference(row, reference)
    return [f"{points(found.value, found.standard_error)} points to fp32"]


def _variant(one: Candidate) -> str:
    return escape(f"{one.row['precision']} {one.row['mode']}")


def _speed(one: Candidate) -> str:
    return f"{with_error(one.row, 'median', scale=1e3)} ms"


def _facts(one: Candidate) -> list[str]:
    row = one.row
    ratios = (_ratio(row, name) for name in (SPEED, "speed-up over fp32 eager"))
    return [*gain(row, *ratios), *compiling(row), f"{accuracy_cell(row)} %", size(row)]


def _ratio(row: Row, name: str) -> Estimate | None:
    value, low, high = (row[f"{name}{end} [1]"] for end in ("", " from", " to"))
    if value is None:
        return None
    return Estimate(value=value, interval=None if None in (low, high) else Interval(low=low, high=high))
