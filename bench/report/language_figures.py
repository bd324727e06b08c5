"""Decoding speed of a language model by precision, beside what memory bandwidth allows: one panel a group of lines."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.contents import SHORT
from bench.report.drawing import COLOURS, FAINT, INK, plain_axis, svg
from bench.report.language_lines import SCENE, LanguageGroup, LanguageLine, bandwidth_limit
from bench.report.markdown import number
from bench.report.rows import Row, throughput
from bench.report.statistics import Estimate

_WIDTH, _LINE, _TITLE, _AXIS, _NAMES, _LEGEND = 7.0, 0.24, 0.4, 0.45, 1.75, 1.3
"""Inches: the picture, one row of it, above and below the rows, to their left and right."""
_ROOM = 1.5
"""How far the axis goes beyond the lowest and highest value, as a factor: the shares stand there."""
_LEAST_RANGE = 5
"""Highest over lowest shown, whatever was measured, so that any axis has two ticks."""


def decoding_figure(groups: Sequence[LanguageGroup]) -> bytes | None:
    """One SVG of the groups of one model; None where no decoding was measured."""
    measured = [(group, rows) for group in groups if (rows := _rows(group))]
    return svg(lambda: _draw(measured)) if measured else None


def _rows(group: LanguageGroup) -> list[tuple[LanguageLine, Row]]:
    """The decoding rows of the headline setting that have a throughput."""
    headline = group.headline("decode")
    pairs = [(line, row) for line in group.lines if (row := line.at("decode", headline)) is not None]
    return [(line, row) for line, row in pairs if throughput(row) is not None]


def _draw(measured: Sequence[tuple[LanguageGroup, Sequence[tuple[LanguageLine, Row]]]]) -> Figure:
    counts = [len(rows) + 1 for _, rows in measured]  # half a row of air above and below
    height = sum(_LINE * count + _TITLE + _AXIS for count in counts)
    picture = Figure(figsize=(_WIDTH, height))
    top = height
    for (group, rows), count in zip(measured, counts, strict=True):
        bottom = top - _TITLE - _LINE * count
        box = (_NAMES / _WIDTH, bottom / height, 1 - (_NAMES + _LEGEND) / _WIDTH, _LINE * count / height)
        axes = picture.add_axes(box)
        _panel(rows, axes)
        axes.set_title(_title([group for group, _ in measured], group, rows[0][1]), loc="left")
        top = bottom - _AXIS
    return picture


def _panel(rows: Sequence[tuple[LanguageLine, Row]], axes: Axes) -> None:
    _limits([row for _, row in rows], axes)
    _measured([row for _, row in rows], axes)
    axes.set_ylim(len(rows), -1.0)  # the first row on top
    axes.set_yticks(range(len(rows)), [line.name for line, _ in rows])
    low, high = axes.dataLim.intervalx
    room = max(_ROOM, (_LEAST_RANGE * low / high) ** 0.5)
    plain_axis(axes, low / room, high * room)
    axes.set_xlabel("new tokens per second")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def _limits(rows: Sequence[Row], axes: Axes) -> None:
    """A bar where memory bandwidth ends, and a thin line to it from what was measured."""
    limits = [(place, row, limit) for place, row in enumerate(rows) if (limit := bandwidth_limit(row)) is not None]
    for place, row, limit in limits:
        axes.plot([_rate(row).value, limit], [place, place], color=FAINT, linewidth=1, zorder=1)
    if limits:
        places = [place for place, _, _ in limits]
        values = [limit for _, _, limit in limits]
        axes.plot(values, places, "|", color=INK, markersize=9, label="memory limit", zorder=2)


def _measured(rows: Sequence[Row], axes: Axes) -> None:
    """Dots with their intervals, and above each its share of the limit."""
    rates = [_rate(row) for row in rows]
    below = [max(0.0, rate.value - rate.interval.low) if rate.interval else 0.0 for rate in rates]
    above = [max(0.0, rate.interval.high - rate.value) if rate.interval else 0.0 for rate in rates]
    axes.errorbar(
        [rate.value for rate in rates],
        range(len(rows)),
        xerr=[below, above],
        fmt="o",
        markersize=4,
        color=COLOURS[0],
        label="measured",
        zorder=3,
    )
    for place, row in enumerate(rows):
        share = row["share of bandwidth [1]"]
        if share is not None:
            where = (rates[place].value, place)
            text = f"{number(100 * share, 2)} %"
            axes.annotate(text, where, (0, 4), textcoords="offset points", ha="center", fontsize=8)


def _rate(row: Row) -> Estimate:
    found = throughput(row)
    if found is None:
        raise ValueError("only rows with a throughput are drawn")
    return found


def _title(groups: Sequence[LanguageGroup], group: LanguageGroup, row: Row) -> str:
    names = [name for name in SCENE if len({other.first[name] for other in groups}) > 1]
    told = [f"{SHORT.get(name, name)} {group.first[name]}" for name in names]
    texts = {other.text for other in groups}
    told += [f"text {' '.join(group.text)}"] if group.text and len(texts) > 1 else []
    return ", ".join((group.model, f"batch {row['batch size']}", *told))
