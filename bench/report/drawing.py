"""What all figures have in common: one style, and SVG that is the same to the byte for the same rows.

A picture has no background of its own, and only colours that stand out from white and from GitHub's dark page alike:
one file serves light and dark, also where a viewer knows nothing of either.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#797979"
"""Text and axes: as far from white as from #0d1117, 4.3 to 1."""
FAINT = "#a8a8a8"
COLOURS = ("#2f7fd1", "#d55e00", "#00906a", "#c25a97", "#a87900", "#8a63d2", "#2594a8", "#b8433f", "#5f8a2b")
"""None of them as light or dark as a page; the first six, after Okabe and Ito, the colour-blind can tell apart."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "halfbyte",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "grid.color": INK,
}


def svg(draw: Callable[[], Figure]) -> bytes:
    """The figure that ``draw`` makes, whatever matplotlib's settings are outside."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a user's name; the tables show it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        file = io.BytesIO()
        draw().savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def plain_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic x axis from ``low`` to ``high``, with ticks at 1, 2 and 5 times a power of ten as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """``places`` moved as little as it takes for labels to stand ``gap`` apart and between ``low`` and ``high``."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [0.0] * len(places)
    floor = low
    for index in order:
        moved[index] = max(places[index], floor)
        floor = moved[index] + gap
    ceiling = high
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
