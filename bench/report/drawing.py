"""What all figures have in common: one style, and SVG that is the same to the byte for the same rows."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that the colour-blind can tell apart (Okabe and Ito)."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "halfbyte",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
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
