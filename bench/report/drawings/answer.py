"""The picture that answers: speed-up against change of accuracy, one panel a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.quality import Margins
from bench.report.choosing import Candidate, Choice
from bench.report.drawings.style import BLUE, FAINT, INK, look, plain_axis, svg, wrapped

WIDTH, HEIGHT = 3.6, 2.9
"""Inches of a panel: on a telephone it is not made smaller."""
LETTER, LEVEL = 0.021, 0.075
"""Width of a letter and height of a line of labels, as parts of the panel's."""
FARTHEST = 8
"""Margins below which a change is drawn at the edge, with its number at the label."""
MOST = 10
"""Routes of one panel, the fastest first."""


def answer_picture(choice: Choice, margins: Margins) -> bytes | None:
    """One network at one batch size; None where fewer than two routes have a change of accuracy."""
    known = [one for one in choice.candidates if _drawn(one)][:MOST]
    return svg(lambda: _draw(choice, known, margins)) if len(known) > 1 else None


def _drawn(candidate: Candidate) -> bool:
    result = candidate.result
    judged = candidate.route.is_reference or result.beside.agreement is not None or candidate.route.precision == "fp32"
    return judged and result.beside.ratio is not None and not result.hardly_converted and result.accuracy is not None


def _draw(choice: Choice, known: Sequence[Candidate], margins: Margins) -> Figure:
    picture = Figure(figsize=(WIDTH, HEIGHT))
    axes = picture.add_axes((0.155, 0.30, 0.815, 0.60))
    margin = 100 * margins.accuracy
    speeds = [_speed(one) for one in known]
    room = max(1.25, (max(speeds) / min(speeds)) ** 0.12)
    plain_axis(axes, min(*speeds, 0.9) / room, max(*speeds, 1.5) * room)
    floor = -FARTHEST * margin
    ends = [_ends(one) for one in known if _change(one) > floor] or [(0.0, 0.0)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    low, high = min(low, -1.4 * margin), max(high, 0.4 * margin)
    if any(_change(one) <= floor for one in known):
        low = min(low, floor)
    levels = _levels(known, *axes.get_xlim())
    share = min(0.65, LEVEL * (max(levels.values()) + 1.2))
    top = high + (high - low) * share / (1 - share)
    axes.set_ylim(low - 0.1 * (high - low), top)
    axes.fill_between([1, axes.get_xlim()[1]], -margin, top, color=BLUE.light, alpha=0.09, linewidth=0)
    axes.axvline(1, color=INK.light, linewidth=0.8)
    axes.axhline(-margin, color=FAINT.light, linewidth=0.8, linestyle="--")
    _points(known, axes, high, top, levels, choice.pick)
    axes.set_xlabel("times as fast as fp32 eager", fontsize=8)
    axes.set_ylabel("accuracy [points]", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_title(f"{choice.model}, batch {choice.batch}", loc="left")
    missing = [route.short for route in choice.untested]
    if missing:
        picture.text(0.02, 0.02, f"not tested: {wrapped(missing, 52, 2)}", fontsize=7, va="bottom")
    return picture


def _levels(known: Sequence[Candidate], left: float, right: float) -> dict[int, int]:
    """Lowest height for each label, by its point's place in ``known``, at which it touches no other one."""
    ends: list[float] = []
    found = {}
    for place in sorted(range(len(known)), key=lambda index: _speed(known[index])):
        begin, end = _span(known[place], left, right)
        level = next((index for index, taken in enumerate(ends) if taken < begin), len(ends))
        ends[level : level + 1] = [end]
        found[place] = level
    return found


def _span(one: Candidate, left: float, right: float) -> tuple[float, float]:
    """Begin and end of its label, as parts of the panel's width: centred, but inside the panel."""
    width = LETTER * len(_label(one))
    begin = min(max(0.0, _place(_speed(one), left, right) - width / 2), 1 - width)
    return begin, begin + width


def _label(one: Candidate) -> str:
    """Route; with its change where that is far off."""
    change = _change(one)
    return f"{one.route.short} {change:+.0f}" if change <= -FARTHEST else one.route.short


def _points(
    known: Sequence[Candidate], axes: Axes, high: float, top: float, levels: dict[int, int], pick: Candidate | None
) -> None:
    """Points with their intervals, and labels above the highest of them; the pick's in bold."""
    left, right = axes.get_xlim()
    low, _ = axes.get_ylim()
    for place, one in enumerate(known):
        colour, marker = look(one.route.precision)
        speed, change, (lower, upper) = _speed(one), max(low, _change(one)), _ends(one)
        lower, upper = max(low, lower), max(low, upper)
        axes.vlines([speed], [lower], [upper], colors=colour.light, linewidth=1, zorder=3)
        face = "none" if one.route.mode == "eager" else colour.light
        axes.plot([speed], [change], marker, color=colour.light, markersize=6, markerfacecolor=face, zorder=4)
        height = high + (levels[place] + 0.8) * LEVEL * (top - low)
        axes.plot(
            [speed, speed], [upper, height - 0.3 * LEVEL * (top - low)], color=FAINT.light, linewidth=0.5, zorder=2
        )
        begin, end = _span(one, left, right)
        where = left * (right / left) ** ((begin + end) / 2)
        weight = "bold" if one is pick else "normal"
        axes.text(where, height, _label(one), fontsize=7, ha="center", va="center", color=colour.light, weight=weight)


def _place(value: float, left: float, right: float) -> float:
    """Place of a speed on the axis, from 0 to 1."""
    return math.log(value / left) / math.log(right / left)


def _speed(one: Candidate) -> float:
    ratio = one.result.beside.ratio
    return ratio.value if ratio else 1.0


def _change(one: Candidate) -> float:
    found = one.result.beside.agreement
    return 100 * found.change.value if found else 0.0


def _ends(one: Candidate) -> tuple[float, float]:
    found = one.result.beside.agreement
    interval = found.change.interval if found else None
    return (100 * interval.low, 100 * interval.high) if interval else (0.0, 0.0)
