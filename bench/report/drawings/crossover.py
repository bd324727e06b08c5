"""Crossover: images a second of each route by batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.drawings.style import look, svg
from bench.report.results import Route

WIDTH, HEIGHT = 3.6, 3.0
"""Inches."""
MOST = 10
"""Routes of one picture, those first that are fastest somewhere."""


def crossover_picture(title: str, lines: Mapping[Route, Sequence[tuple[int, float]]]) -> bytes | None:
    """A line a route through (batch size, images a second); None where there is no line."""
    return svg(lambda: _draw(title, dict(list(lines.items())[:MOST]))) if lines else None


def _draw(title: str, lines: Mapping[Route, Sequence[tuple[int, float]]]) -> Figure:
    picture = Figure(figsize=(WIDTH, HEIGHT))
    axes = picture.add_axes((0.17, 0.36, 0.80, 0.54))
    for route, points in lines.items():
        colour, marker = look(route.precision)
        eager = route.mode == "eager"
        axes.plot(
            [batch for batch, _ in points],
            [rate for _, rate in points],
            color=colour.light,
            marker=marker,
            markersize=4,
            markerfacecolor="none" if eager else colour.light,
            linestyle="--" if eager else "-",
            linewidth=1,
            label=route.short,
        )
    batches = sorted({batch for points in lines.values() for batch, _ in points})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(batches))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(labelsize=7)
    axes.set_xlabel("batch size", fontsize=8)
    axes.set_ylabel("images/s", fontsize=8)
    axes.set_title(title, loc="left")
    picture.legend(loc="lower center", ncols=2, fontsize=6, frameon=False)
    return picture
