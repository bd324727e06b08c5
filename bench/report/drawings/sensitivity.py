"""Sensitivity of layers: how far the outputs move where one layer alone is quantised."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from bench.core.quality import Layer
from bench.report.drawings.style import FAINT, ORANGE, svg

WIDTH, LINE, ABOVE, BELOW = 3.6, 0.2, 0.35, 0.5
"""Inches: the picture, one bar of it, and what is above and below them."""
MOST = 20
"""Layers of one picture, the most sensitive ones."""
LETTERS = 28


def sensitivity_picture(title: str, layers: Sequence[Layer]) -> bytes | None:
    """A bar a layer, most sensitive first, those that stay in floating point in another colour; None without layers."""
    return svg(lambda: _draw(title, layers[:MOST])) if layers else None


def _draw(title: str, layers: Sequence[Layer]) -> Figure:
    height = ABOVE + LINE * (len(layers) + 0.4) + BELOW
    picture = Figure(figsize=(WIDTH, height))
    axes = picture.add_axes((0.48, BELOW / height, 0.48, LINE * (len(layers) + 0.4) / height))
    smallest = min((layer.kl for layer in layers if layer.kl > 0), default=1e-9)
    for place, layer in enumerate(layers):
        colour = ORANGE if layer.spared else FAINT
        axes.barh(place, max(layer.kl, smallest / 2), color=colour.light, height=0.66, zorder=3)
    axes.set_xscale("log")
    axes.set_ylim(len(layers) - 0.3, -0.7)  # the first bar on top
    axes.set_yticks(range(len(layers)), [shortened(layer.name, LETTERS) for layer in layers], fontsize=6)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("KL divergence [nats]", fontsize=8)
    axes.set_title(title, loc="left", x=-0.9, fontsize=8)
    return picture


def shortened(name: str, letters: int) -> str:
    """The end of a long name, which differs from layer to layer."""
    return name if len(name) <= letters else f"…{name[-letters + 1 :]}"
