"""Bars: memory of a network by route, and decoding of a language model beside what memory bandwidth allows."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.choosing import Candidate, Choice
from bench.report.drawings.style import FAINT, INK, look, svg
from bench.report.formats import number
from bench.report.language import bandwidth_limit

WIDTH, LINE, ABOVE, BELOW = 3.6, 0.2, 0.35, 0.5
"""Inches: the picture, one bar of it, and what is above and below them."""
MOST = 14
"""Bars of one picture."""


def memory_picture(choice: Choice) -> bytes | None:
    """Weights, and weights with what a step adds, both as numbers; None where fewer than two routes have them."""
    known = [one for one in choice.candidates if one.result.in_use is not None and one.result.weight_bytes is not None]
    known = sorted(known, key=lambda one: one.result.in_use or 0.0)[:MOST]
    return svg(lambda: _memory(choice, known)) if len(known) > 1 else None


def decoding_picture(choice: Choice) -> bytes | None:
    """Tokens a second, fastest first, with the share of the bandwidth limit; None where nothing has a rate."""
    known = [one for one in choice.candidates if one.result.rate is not None]
    known = sorted(known, key=_rate, reverse=True)[:MOST]
    return svg(lambda: _decoding(choice, known)) if known else None


def _canvas(bars: int) -> tuple[Figure, tuple[float, float, float, float]]:
    height = ABOVE + LINE * (bars + 0.4) + BELOW
    box = (0.40, BELOW / height, 0.38, LINE * (bars + 0.4) / height)
    return Figure(figsize=(WIDTH, height)), box


def _memory(choice: Choice, known: Sequence[Candidate]) -> Figure:
    picture, box = _canvas(len(known))
    axes = picture.add_axes(box)
    for place, one in enumerate(known):
        colour, _ = look(one.route.precision)
        weights, used = (one.result.weight_bytes or 0) / 1e6, (one.result.in_use or 0) / 1e6
        axes.barh(place, used, color=FAINT.light, alpha=0.45, height=0.66, zorder=2)
        axes.barh(place, weights, color=colour.light, height=0.66, zorder=3)
        text = f"{number(weights, 2)} / {number(used, 2)}"
        axes.annotate(text, (max(used, weights), place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    _finish(axes, known, f"{choice.model}, batch {choice.batch}", "MB: weights / in use")
    return picture


def _decoding(choice: Choice, known: Sequence[Candidate]) -> Figure:
    picture, box = _canvas(len(known))
    axes = picture.add_axes(box)
    for place, one in enumerate(known):
        colour, _ = look(one.route.precision)
        rate, limit, share = _rate(one), bandwidth_limit(one.result), one.result.limits.of_bandwidth
        axes.barh(place, rate, color=colour.light, height=0.66, zorder=3)
        if limit is not None:
            axes.plot([rate, limit], [place, place], color=FAINT.light, linewidth=0.8, zorder=2)
            axes.plot([limit], [place], "|", color=INK.light, markersize=8, zorder=3)
        text = number(rate, 2) + (f" ({number(100 * share, 2)} %)" if share is not None else "")
        end = max(rate, limit or 0.0)
        axes.annotate(text, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=7)
    _finish(axes, known, f"{choice.model}, batch {choice.batch}", "tokens/s (share of the limit, | )")
    return picture


def _finish(axes: Axes, known: Sequence[Candidate], title: str, label: str) -> None:
    axes.set_ylim(len(known) - 0.3, -0.7)  # the first bar on top
    axes.set_yticks(range(len(known)), [one.route.short for one in known], fontsize=7)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label, fontsize=8)
    axes.set_title(title, loc="left", x=-1.0, fontsize=9)


def _rate(one: Candidate) -> float:
    return one.result.rate.value if one.result.rate else 0.0
