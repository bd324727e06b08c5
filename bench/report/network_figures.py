"""Memory and latencies of networks by precision: one panel a network, one line a precision and mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bench.report.contents import place_words
from bench.report.drawing import COLOURS, FAINT, INK, plain_axis, svg
from bench.report.markdown import megabytes
from bench.report.pairs import in_use
from bench.report.rows import PLACE, Row, grouped

PANELS = 8
"""Networks in one figure at most; the tables have them all."""
NETWORK = ("model", "image size [px]", "dataset", "seed", *PLACE)
"""What the rows of one panel share, besides a batch size."""
LEAST_SAMPLES = 20
"""Samples from which on the 5th and 95th percentile are drawn."""
_WIDTH, _NAMES, _RIGHT, _LINE, _TITLE, _AXIS, _LEGEND = 3.0, 1.85, 0.75, 0.2, 0.35, 0.5, 0.3
"""Inches: one panel, to its left and right, a row of it, above and below it, the legend of all."""


def memory_figure(rows: Sequence[Row]) -> bytes | None:
    """One SVG: the bytes of the weights and what a step adds, at the largest batch with several
    rows. None where neither is known."""
    panels = _panels([row for row in rows if row["weights [B]"] is not None and in_use(row) is not None], max)
    handles = (Patch(color=COLOURS[0], label="weights"), Patch(color=FAINT, label="what a step adds"))
    return svg(lambda: _draw(panels, _memory, handles)) if panels else None


def latency_figure(rows: Sequence[Row]) -> bytes | None:
    """One SVG: how single calls spread, at the smallest batch with several rows. None where none has samples enough."""
    panels = _panels([row for row in rows if row["samples"] >= LEAST_SAMPLES], min)
    handles = (
        Line2D([], [], color=COLOURS[1], linewidth=2, label="median"),
        Line2D([], [], color=COLOURS[0], linewidth=6, label="middle half"),
        Line2D([], [], color=INK, linewidth=1, label="5 % to 95 %"),
    )
    return svg(lambda: _draw(panels, _latencies, handles)) if panels else None


def _panels(rows: Sequence[Row], pick: Callable[[Sequence[int]], int]) -> list[list[Row]]:
    """The rows of each network at one batch size: of those that have more than one to compare."""
    panels = []
    for members in grouped(rows, NETWORK).values():
        counted = Counter(row["batch size"] for row in members)
        if sizes := [size for size, count in counted.items() if count > 1]:
            size = pick(sizes)
            panels.append([row for row in members if row["batch size"] == size])
    return panels[:PANELS]


def _draw(
    panels: Sequence[Sequence[Row]], draw: Callable[[Sequence[Row], Axes], None], handles: Sequence[Patch | Line2D]
) -> Figure:
    columns = min(2, len(panels))
    lines = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [_LINE * (max(map(len, line)) + 0.6) for line in lines]
    width = columns * (_NAMES + _WIDTH + _RIGHT)
    height = sum(heights) + len(lines) * (_TITLE + _AXIS) + _LEGEND
    everything = [row for panel in panels for row in panel]
    picture = Figure(figsize=(width, height))
    top = height
    for line, most in zip(lines, heights, strict=True):
        for index, rows in enumerate(line):
            left = index * (_NAMES + _WIDTH + _RIGHT) + _NAMES
            tall = _LINE * (len(rows) + 0.6)
            box = (left / width, (top - _TITLE - tall) / height, _WIDTH / width, tall / height)
            _panel(rows, everything, picture.add_axes(box), draw)
        top -= _TITLE + most + _AXIS
    picture.legend(handles=list(handles), loc="lower center", ncols=len(handles), fontsize=8, frameon=False)
    return picture


def _panel(
    rows: Sequence[Row], everything: Sequence[Row], axes: Axes, draw: Callable[[Sequence[Row], Axes], None]
) -> None:
    axes.set_ylim(len(rows) - 0.2, -0.8)  # the first row on top
    draw(rows, axes)
    axes.set_yticks(range(len(rows)), [f"{row['precision']} {row['mode']}" for row in rows])
    axes.grid(axis="y", visible=False)
    sizes = {row["image size [px]"] for row in everything if row["model"] == rows[0]["model"]}
    told = [f"{rows[0]['image size [px]']} px"] if len(sizes) > 1 else []
    title = (rows[0]["model"], f"batch {rows[0]['batch size']}", *told, *place_words(everything, rows[0]))
    axes.set_title(", ".join(title), loc="left")


def _memory(rows: Sequence[Row], axes: Axes) -> None:
    places = range(len(rows))
    weights = [row["weights [B]"] / 1e6 for row in rows]
    totals = [(in_use(row) or 0) / 1e6 for row in rows]
    added = [max(0.0, total - own) for total, own in zip(totals, weights, strict=True)]
    axes.barh(places, weights, color=COLOURS[0], height=0.62, zorder=2)
    axes.barh(places, added, left=weights, color=FAINT, height=0.62, zorder=2)
    for place, total, own in zip(places, totals, weights, strict=True):
        axes.annotate(
            megabytes(1e6 * own), (max(total, own), place), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_xlim(0, 1.05 * max(*totals, *weights))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlabel("MB; the number is the weights")


def _latencies(rows: Sequence[Row], axes: Axes) -> None:
    samples = [1e3 * np.concatenate([np.asarray(process) for process in row["processes"]]) for row in rows]
    found = [np.quantile(one, (0.05, 0.25, 0.5, 0.75, 0.95)) for one in samples]
    places = range(len(rows))
    lowest, lower, middle, upper, highest = zip(*found, strict=True)
    axes.hlines(places, lowest, highest, color=INK, linewidth=1.2, zorder=2)
    axes.hlines(places, lower, upper, color=COLOURS[0], linewidth=6, zorder=3)
    axes.plot(middle, places, "|", color=COLOURS[1], markersize=9, markeredgewidth=2, zorder=4)
    low, high = min(ends[0] for ends in found), max(ends[-1] for ends in found)
    room = max(1.15, (4 * low / high) ** 0.5)
    plain_axis(axes, low / room, high * room)
    axes.set_xlabel("latency of one call [ms]")
