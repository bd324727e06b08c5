"""Learning curves as SVG, the same to the byte for the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.contents import SHORT, varying
from bench.report.drawing import COLOURS, INK, svg
from bench.report.groups import Group
from bench.report.rows import figure

PANELS = 24
"""Trainings in one figure at most; the table has them all."""
_SPLITS = (("train", COLOURS[0], "-"), ("validation", COLOURS[1], "--"))
"""Splits with their colours, and dashes for print."""
_WIDTH, _HEIGHT = 6.4, 2.5
"""Inches of one training's pair of panels."""


def learning_curves(groups: Sequence[Group]) -> bytes | None:
    """One SVG of the trainings that recorded a curve: a pair of panels each, loss and accuracy. None if none did."""
    recorded = [group for group in groups if any(row["series"] for row in group.rows)]
    if not recorded:
        return None
    return svg(lambda: _draw(recorded[:PANELS], len(recorded)))


def _draw(groups: Sequence[Group], recorded: int) -> Figure:
    pairs = min(2, len(groups))
    lines = math.ceil(len(groups) / pairs)
    width, height = _WIDTH * pairs, _HEIGHT * lines + 0.3
    picture = Figure(figsize=(width, height))
    grid = picture.subplots(lines, 2 * pairs, squeeze=False)
    picture.subplots_adjust(
        left=0.65 / width, right=1 - 0.1 / width, bottom=0.45 / height, top=1 - 0.45 / height, wspace=0.35, hspace=0.5
    )
    shown = ("model", "recipe", "dataset", "seed")
    extra = [name for name in varying([group.first for group in groups], shown) if name != "seed"]
    panels = [axes for row in grid for axes in row]
    for index, group in enumerate(groups):
        _pair(group, extra, panels[2 * index], panels[2 * index + 1])
    for axes in panels[2 * len(groups) :]:
        axes.set_axis_off()
    if recorded > len(groups):
        picture.text(0.5, 0.05 / height, f"The first {len(groups)} of {recorded} trainings.", ha="center")
    return picture


def _pair(group: Group, extra: Sequence[str], loss: Axes, accuracy: Axes) -> None:
    for split, colour, dashes in _SPLITS:
        _curve(loss, [row["series"].get(f"{split}_loss", ()) for row in group.rows], 1, split, colour, dashes)
        _curve(accuracy, [row["series"].get(f"{split}_accuracy", ()) for row in group.rows], 100, split, colour, dashes)
    if group.accuracy:
        accuracy.axhline(100 * group.accuracy.mean, color=INK, linestyle=":", linewidth=1.2, label="test, corrected")
    seeds = "1 seed" if len(group.rows) == 1 else f"{len(group.rows)} seeds"
    facts = [
        group.first["recipe"] or "no recipe",
        seeds,
        *(f"{SHORT.get(name, name)} {group.first[name]}" for name in extra),
    ]
    loss.set_title(f"{group.first['model']}\n{', '.join(facts)}", loc="left")
    loss.set_ylabel("loss")
    accuracy.set_ylabel("accuracy [%]")
    accuracy.set_ylim(0, 100)
    images = figure(group.first, "images_per_epoch")
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch" if images is None else f"epoch of {round(images):,} images")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False)


def _curve(axes: Axes, curves: Sequence[Sequence[float]], scale: float, split: str, colour: str, dashes: str) -> None:
    """The mean over seeds with a band from lowest to highest; only as far as every seed goes."""
    known = [curve for curve in curves if curve]
    if not known:
        return
    length = min(len(curve) for curve in known)
    values = scale * np.array([curve[:length] for curve in known])
    epochs = np.arange(1, length + 1)
    marker = "o" if length <= 20 else ""
    axes.plot(epochs, values.mean(axis=0), color=colour, linestyle=dashes, marker=marker, markersize=3, label=split)
    if len(known) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
