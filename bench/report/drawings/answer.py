"""The picture that answers: speed-up against change of accuracy, one panel a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.choosing import Candidate, Choice
from bench.report.drawings.style import BLUE, FAINT, INK, look, plain_axis, svg, wrapped
from bench.report.judging import Margins

WIDTH, HEIGHT = 3.6, 2.9
"""Inches of a panel: on a telephone it is not made smaller."""
LEVELS = 4
"""Heights at which labels stand above their points in turn."""
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
    ends = [_ends(one) for one in known]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    low, high = min(low, -1.4 * margin), max(high, 0.4 * margin)
    top = high + 0.75 * (high - low)
    axes.set_ylim(low - 0.05 * (high - low), top)
    axes.fill_between([1, axes.get_xlim()[1]], -margin, top, color=BLUE.light, alpha=0.09, linewidth=0)
    axes.axvline(1, color=INK.light, linewidth=0.8)
    axes.axhline(-margin, color=FAINT.light, linewidth=0.8, linestyle="--")
    _points(known, axes, high, top, choice.pick)
    axes.set_xlabel("times as fast as fp32 eager", fontsize=8)
    axes.set_ylabel("accuracy [points]", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_title(f"{choice.model}, batch {choice.batch}", loc="left")
    missing = [route.short for route in choice.untested]
    if missing:
        picture.text(0.02, 0.02, f"not tested: {wrapped(missing, 52, 2)}", fontsize=7, va="bottom")
    return picture


def _points(known: Sequence[Candidate], axes: Axes, high: float, top: float, pick: Candidate | None) -> None:
    """Points with their intervals; labels above the highest of them, at heights in turn, the pick's in bold."""
    left, right = axes.get_xlim()
    for place, one in enumerate(sorted(known, key=_speed)):
        colour, marker = look(one.route.precision)
        speed, change, (low, upper) = _speed(one), _change(one), _ends(one)
        axes.vlines([speed], [low], [upper], colors=colour.light, linewidth=1, zorder=3)
        face = "none" if one.route.mode == "eager" else colour.light
        axes.plot(
            [speed],
            [change],
            marker,
            color=colour.light,
            markersize=6,
            markerfacecolor=face,
            zorder=4,
        )
        height = high + (top - high) * (place % LEVELS + 0.55) / LEVELS
        axes.plot([speed, speed], [upper, height], color=FAINT.light, linewidth=0.5, zorder=2)
        relative = _place(speed, left, right)
        side = "left" if relative < 0.3 else "right" if relative > 0.7 else "center"
        weight = "bold" if one is pick else "normal"
        axes.text(speed, height, one.route.short, fontsize=7, ha=side, va="center", color=colour.light, weight=weight)


def _place(value: float, left: float, right: float) -> float:
    """Where a speed lies on the axis, from 0 to 1."""
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
