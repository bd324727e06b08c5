"""Speed-up of single layers against their width: a line a precision, a panel a batch size."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.report.contents import place_words
from bench.report.drawing import COLOURS, INK, svg
from bench.report.rows import BASELINES, PLACE, SPEED, Row, grouped, hardly_converted

_DASHES = ("-", "--", ":")
_WIDTH, _HEIGHT = 2.6, 2.2
"""Inches of one panel."""
_SCALE, _LEGEND, _TITLE, _LABEL = 0.8, 1.6, 0.5, 0.5
"""Inches to the left and right of the panels, above and below them."""
_LEAST_RANGE = (0.45, 2.2)
"""Shown whatever was measured: half and twice as fast are ticks, so that any picture has three."""


def speed_up_figure(rows: Sequence[Row]) -> bytes | None:
    """One SVG of one kind of layer; None where nothing can be held against fp32."""
    compared = [row for row in rows if _is_compared(row)]
    return svg(lambda: _draw(compared)) if compared else None


def _is_compared(row: Row) -> bool:
    paired = row[f"{SPEED} [1]"] is not None and row["width"] is not None
    return paired and row["precision"] != BASELINES[0] and not hardly_converted(row)


def _draw(rows: Sequence[Row]) -> Figure:
    """Panels of one line belong to one mode in one place; they share their axes."""
    lines = grouped(rows, (*PLACE, "mode"))
    sizes = sorted({row["batch size"] for row in rows})
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    width, height = _SCALE + _WIDTH * len(sizes) + _LEGEND, _HEIGHT * len(lines) + _TITLE + _LABEL
    picture = Figure(figsize=(width, height))
    grid = picture.subplots(len(lines), len(sizes), squeeze=False, sharex=True, sharey=True)
    picture.subplots_adjust(
        left=_SCALE / width, right=1 - _LEGEND / width, bottom=_LABEL / height, top=1 - _TITLE / height, hspace=0.35
    )
    for members, panels in zip(lines.values(), grid, strict=True):
        for size, axes in zip(sizes, panels, strict=True):
            _panel([row for row in members if row["batch size"] == size], precisions, axes)
            axes.set_title(", ".join((members[0]["mode"], *place_words(rows, members[0]), f"batch {size}")), loc="left")
        panels[0].set_ylabel("speed-up over fp32 [×]")
    for axes in grid[-1]:
        axes.set_xlabel("width")
    _finish(rows, grid[0][0])
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    shown = [name for name in precisions if name in handles]
    picture.legend([handles[name] for name in shown], shown, loc="center right", fontsize=8, frameon=False)
    return picture


def _panel(rows: Sequence[Row], precisions: Sequence[str], axes: Axes) -> None:
    for index, name in enumerate(precisions):
        chosen = sorted((row for row in rows if row["precision"] == name), key=lambda row: int(row["width"]))
        if not chosen:
            continue
        axes.errorbar(
            [row["width"] for row in chosen],
            [row[f"{SPEED} [1]"] for row in chosen],
            yerr=[[_error(row, end) for row in chosen] for end in ("from", "to")],
            label=name,
            color=COLOURS[index % len(COLOURS)],
            linestyle=_DASHES[index // len(COLOURS) % len(_DASHES)],
            linewidth=1.2,
            marker="o",
            markersize=3,
        )
    axes.axhline(1, color=INK, linewidth=1)


def _error(row: Row, end: str) -> float:
    """How far the interval reaches from the speed-up; 0 where there is none."""
    value, limit = row[f"{SPEED} [1]"], row[f"{SPEED} {end} [1]"]
    return 0.0 if limit is None else abs(float(limit - value))


def _finish(rows: Sequence[Row], axes: Axes) -> None:
    """Logarithmic axes, with the widths that were measured as ticks. All panels follow, since they share them."""
    widths = sorted({row["width"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, _LEAST_RANGE[0]), max(high, _LEAST_RANGE[1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
