"""Accuracy against latency: a panel a batch size, the front drawn, each network named once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.contents import place_words
from bench.report.drawing import COLOURS, INK, plain_axis, spread, svg
from bench.report.front import comparable, outermost
from bench.report.rows import BASELINES, Row, grouped, one_accuracy

PANELS, MODELS = 4, 10
"""Settings in one figure, and networks in one of them, at most; the tables have them all."""
_WIDTH, _HEIGHT, _LEFT, _NAMES, _TITLE, _AXIS, _LINE = 3.6, 3.2, 0.65, 1.6, 0.35, 0.5, 0.2
"""Inches: one panel, to its left and right, above and below it, a line of the legend."""
_CELL = _LEFT + _WIDTH + _NAMES
_COLUMNS = 2
_NAME, _LETTERS = 0.16, 18
"""Inches from one name of a network to the next; letters of a name."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


def accuracy_figure(rows: Sequence[Row]) -> bytes | None:
    """One SVG of the rows of one data set; None where no two rows of one setting can be compared."""
    settings = [members for members in comparable(rows).values() if len(members) > 1]
    return svg(lambda: _draw(settings[:PANELS])) if settings else None


def _draw(settings: Sequence[Sequence[Row]]) -> Figure:
    shown = list(dict.fromkeys(row["model"] for members in settings for row in _networks_first(members)))[:MODELS]
    settings = [[row for row in members if row["model"] in shown] for members in settings]
    everything = [row for members in settings for row in members]
    precisions = sorted({row["precision"] for row in everything}, key=lambda name: (name != BASELINES[0], name))
    models = sorted({row["model"] for row in everything})
    columns = min(_COLUMNS, len(settings))
    lines = math.ceil(len(settings) / columns)
    legend = _LINE * math.ceil((len(precisions) + 3) / (3 * columns)) + 0.1
    width, height = columns * _CELL, lines * (_TITLE + _HEIGHT + _AXIS) + legend
    picture = Figure(figsize=(width, height))
    for index, members in enumerate(settings):
        left = (index % columns) * _CELL + _LEFT
        bottom = height - (index // columns + 1) * (_TITLE + _HEIGHT + _AXIS) + _AXIS
        axes = picture.add_axes((left / width, bottom / height, _WIDTH / width, _HEIGHT / height))
        _panel(members, precisions, models, axes)
        axes.set_title(_title(everything, members[0]), loc="left")
    handles = [_dot(colour, name) for name, colour in zip(precisions, cycle(COLOURS), strict=False)]
    handles += [_dot(INK, "filled: compiled"), _dot(INK, "hollow: eager", hollow=True)]
    handles.append(Line2D([], [], color=INK, linewidth=1, label="front"))
    picture.legend(handles=handles, loc="lower center", ncols=3 * columns, fontsize=8, frameon=False)
    return picture


def _networks_first(rows: Sequence[Row]) -> list[Row]:
    """Those of the front before the others, so that it is drawn whatever is left out."""
    return [*outermost(rows), *rows]


def _panel(rows: Sequence[Row], precisions: Sequence[str], models: Sequence[str], axes: Axes) -> None:
    for (model, mode), members in grouped(rows, ("model", "mode")).items():
        colours = [COLOURS[precisions.index(row["precision"]) % len(COLOURS)] for row in members]
        places, shares = [1e3 * row["median [s]"] for row in members], [_accuracy(row) for row in members]
        errors = [100 * (row["quality standard error [1]"] or 0.0) for row in members]
        low, high = ([share + sign * error for share, error in zip(shares, errors, strict=True)] for sign in (-1, 1))
        axes.vlines(places, low, high, colors=colours, linewidth=0.8, zorder=3)
        axes.scatter(
            places,
            shares,
            s=25,
            marker=_MARKERS[models.index(str(model)) % len(_MARKERS)],
            facecolors="none" if mode == BASELINES[1] else colours,
            edgecolors=colours,
            zorder=3,
        )
    times = [1e3 * row["median [s]"] for row in rows]
    plain_axis(axes, min(times) / 1.5, max(times) * 1.5)
    _front(rows, axes)
    _names(rows, models, axes)
    axes.set_xlabel("p50 latency [ms], better to the left")
    axes.set_ylabel("accuracy [%]")


def _front(rows: Sequence[Row], axes: Axes) -> None:
    """Up to the right end: nothing that is slower than its last row is surely more accurate."""
    front = outermost(rows)
    times = [*(1e3 * row["median [s]"] for row in front), axes.get_xlim()[1]]
    shares = [_accuracy(row) for row in (*front, front[-1])]
    axes.step(times, shares, where="post", color=INK, linewidth=1, zorder=2)


def _names(rows: Sequence[Row], models: Sequence[str], axes: Axes) -> None:
    """Each network once, at the right of its highest accuracy, moved where two would overlap."""
    tops = {str(key[0]): max(map(_accuracy, members)) for key, members in grouped(rows, ("model",)).items()}
    shown = sorted(tops, key=lambda name: -tops[name])[: int(_HEIGHT / _NAME)]
    low, high = axes.get_ylim()
    places = spread([tops[name] for name in shown], (high - low) * _NAME / _HEIGHT, low, high)
    right = axes.get_xlim()[1]
    across = axes.get_yaxis_transform()
    for name, place in zip(shown, places, strict=True):
        marker = _MARKERS[models.index(name) % len(_MARKERS)]
        axes.plot([1.0, 1.04], [tops[name], place], color=INK, linewidth=0.5, transform=across, clip_on=False)
        look: dict[str, Any] = {"markersize": 5, "clip_on": False, "linestyle": "none", "transform": across}
        axes.plot([1.06], [place], marker=marker, color=INK, markerfacecolor="none", **look)
        short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
        axes.text(1.09, place, short, fontsize=8, va="center", transform=across)
    axes.set_ylim(low, high)
    axes.set_xlim(right=right)


def _accuracy(row: Row) -> float:
    return 100 * (one_accuracy(row) or 0.0)


def _dot(colour: str, label: str, *, hollow: bool = False) -> Line2D:
    look: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "none" if hollow else colour}
    return Line2D([], [], color=colour, linestyle="none", label=label, **look)


def _title(rows: Sequence[Row], row: Row) -> str:
    told = [f"batch {row['batch size']}"]
    told += [f"{row['image size [px]']} px"] if len({other["image size [px]"] for other in rows}) > 1 else []
    told += [f"seed {row['seed']}"] if len({other["seed"] for other in rows}) > 1 else []
    return ", ".join((*told, *place_words(rows, row)))
