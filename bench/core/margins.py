"""Losses of quality that do not count: the margins by which a route is as accurate as the reference."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.core.errors import InputError

_TEXT = re.compile(r"(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, kw_only=True)
class Margins:
    """``accuracy`` is a fraction of 1, ``perplexity`` the part by which perplexity may rise."""

    accuracy: float = 0.01
    perplexity: float = 0.02

    @property
    def points(self) -> str:
        """Margin of accuracy in words: ``1 point``, ``0.5 points``."""
        number = f"{100 * self.accuracy:g}"
        return f"{number} point" if number == "1" else f"{number} points"

    @property
    def text(self) -> str:
        return f"{self.points} of accuracy, {100 * self.perplexity:g} % of perplexity"


def margins_from(option: str, text: str) -> Margins:
    """``POINTS`` of accuracy, or ``POINTS/PERCENT`` with perplexity; ``POINTS`` alone allows twice as many per cent.

    Raises:
        InputError: the text is neither.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f"{option} {text!r} is no margin; give points of accuracy, or points and per cent of perplexity, as in 1/2."
        )
    points = float(match[1])
    return Margins(accuracy=points / 100, perplexity=float(match[2] or 2 * points) / 100)
