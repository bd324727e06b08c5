"""Learning curves: loss and accuracy by epoch, a pair of panels a training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.drawings.style import BLUE, INK, ORANGE, svg
from bench.report.seeds import Group

PANELS = 12
"""Trainings in one figure at most."""
_SPLITS = (("train", BLUE.light, "-"), ("validation", ORANGE.light, "--"))
_WIDTH, _HEIGHT = 3.6, 1.9
"""Inches of one training's pair of panels."""


def learning_curves(groups: Sequence[Group]) -> bytes | None:
    """One SVG of the trainings that recorded a curve; None if none did."""
    recorded = [group for group in groups if any(one.first.series for one in group.results)]
    return svg(lambda: _draw(recorded[:PANELS])) if recorded else None


def _draw(groups: Sequence[Group]) -> Figure:
    pairs = min(2, len(groups))
    lines = math.ceil(len(groups) / pairs)
    width, height = _WIDTH * pairs, _HEIGHT * lines + 0.2
    picture = Figure(figsize=(width, height))
    grid = picture.subplots(lines, 2 * pairs, squeeze=False)
    picture.subplots_adjust(
        left=0.5 / width, right=1 - 0.1 / width, bottom=0.4 / height, top=1 - 0.3 / height, wspace=0.45, hspace=0.6
    )
    panels = [axes for row in grid for axes in row]
    for index, group in enumerate(groups):
        _pair(group, panels[2 * index], panels[2 * index + 1])
    for axes in panels[2 * len(groups) :]:
        axes.set_axis_off()
    return picture


def _pair(group: Group, loss: Axes, accuracy: Axes) -> None:
    for split, colour, dashes in _SPLITS:
        _curve(loss, [one.first.series.get(f"{split}_loss", ()) for one in group.results], 1, colour, dashes)
        _curve(accuracy, [one.first.series.get(f"{split}_accuracy", ()) for one in group.results], 100, colour, dashes)
    if group.accuracy:
        accuracy.axhline(100 * group.accuracy.mean, color=INK.light, linestyle=":", linewidth=1.2)
    loss.set_title(f"{group.first.case.model}: loss", loc="left", fontsize=8)
    accuracy.set_title("accuracy [%]", loc="left", fontsize=8)
    accuracy.set_ylim(0, 100)
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))


def _curve(axes: Axes, curves: Sequence[Sequence[float]], scale: float, colour: str, dashes: str) -> None:
    """The mean over seeds with a band from lowest to highest; only as far as every seed goes."""
    known = [curve for curve in curves if curve]
    if not known:
        return
    length = min(len(curve) for curve in known)
    values = scale * np.array([curve[:length] for curve in known])
    epochs = np.arange(1, length + 1)
    axes.plot(
        epochs, values.mean(axis=0), color=colour, linestyle=dashes, marker="o" if length <= 20 else "", markersize=2
    )
    if len(known) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
