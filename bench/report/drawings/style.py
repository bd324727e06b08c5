"""One style for all pictures: a colour and a shape a precision, in light and dark.

A picture has no background of its own. It is drawn in the colours for a light page, and carries those for a dark one as
a style that its viewer applies by the reader's setting.
"""

from __future__ import annotations

import hashlib
import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LIGHT_PAGE, DARK_PAGE = "#ffffff", "#0d1117"


@dataclass(frozen=True)
class Colour:
    light: str
    dark: str


INK = Colour("#4a535e", "#b3bdc8")
"""Text and axes."""
FAINT = Colour("#8b95a1", "#6d7885")
"""Grids, leader lines and areas: nothing that has to be read."""
GREY, BLUE, ORANGE, PURPLE, GREEN = (
    Colour("#5a6470", "#a9b3bf"),
    Colour("#0a5fc2", "#79b8ff"),
    Colour("#b34700", "#ffa366"),
    Colour("#7a2f96", "#d8a6ee"),
    Colour("#1b7f3b", "#63d68a"),
)
LOOKS: dict[str, tuple[Colour, str]] = {
    "fp32": (GREY, "o"),
    "tf32": (GREY, "s"),
    "bf16": (BLUE, "o"),
    "fp16": (BLUE, "s"),
    "bf16_autocast": (BLUE, "^"),
    "fp8_dynamic": (GREEN, "o"),
    "fp8_weights": (GREEN, "s"),
    "int8_static": (ORANGE, "D"),
    "int8_mixed": (ORANGE, "d"),
    "int8_dynamic": (ORANGE, "s"),
    "int8_weights": (ORANGE, "^"),
    "int8_weights_bf16": (ORANGE, "p"),
    "int8_packed": (ORANGE, "v"),
    "int8_bnb": (ORANGE, "P"),
    "int8_bnb_outliers": (ORANGE, "X"),
    "int8_linear": (ORANGE, "<"),
    "int8_linear_bf16": (ORANGE, "h"),
    "q8_0": (ORANGE, ">"),
    "nf4": (PURPLE, "o"),
    "nf4_weights": (PURPLE, "s"),
    "nf4_weights_bf16": (PURPLE, "*"),
    "nf4_bf16": (PURPLE, "^"),
    "nf4_double": (PURPLE, "v"),
    "nf4_double_bf16": (PURPLE, "H"),
    "fp4": (PURPLE, "D"),
    "fp4_weights": (PURPLE, "d"),
    "fp4_bf16": (PURPLE, "h"),
    "int4_weights": (PURPLE, "P"),
    "int4_linear": (PURPLE, "X"),
    "q4_0": (PURPLE, "<"),
    "gguf": (PURPLE, ">"),
}
"""Precision -> colour of its family of bits, and a shape of its own."""
SHAPES = ("p", "*", "8")
"""Shapes of precisions that the table does not have."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "halfbyte",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.4,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK.light),
    "grid.color": FAINT.light,
}


def look(precision: str) -> tuple[Colour, str]:
    """Colour and marker of a precision, the same in every picture."""
    known = LOOKS.get(precision)
    if known is None:
        place = int(hashlib.sha256(precision.encode()).hexdigest(), 16) % len(SHAPES)
        return GREEN, SHAPES[place]
    return known


def svg(draw: Callable[[], Figure]) -> bytes:
    """The figure that ``draw`` makes, whatever matplotlib's settings are outside."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a user's name; the tables show it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        file = io.BytesIO()
        draw().savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().replace(b"</svg>", _dark_style().encode() + b"</svg>")


def plain_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic x axis from ``low`` to ``high``, with ticks at 1, 2 and 5 times a power of ten as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    subs = (1, 1.5, 2, 3, 5, 7) if high / low < 8 else (1, 2, 5) if high / low < 200 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def wrapped(names: Sequence[str], width: int, lines: int) -> str:
    """Names with commas between on lines of at most ``width`` letters; what does not fit is counted."""
    text = textwrap.wrap(", ".join(names), width)
    if len(text) <= lines:
        return "\n".join(text)
    return "\n".join([*text[: lines - 1], f"{text[lines - 1][: width - 2]} …"])


def _dark_style() -> str:
    """Colours for a dark page, by the colour that a shape was drawn in."""
    rules = [
        f'[style*="{kind}: {colour.light}"]{{{kind}:{colour.dark}!important}}'
        for colour in (INK, FAINT, GREY, BLUE, ORANGE, PURPLE, GREEN)
        for kind in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
