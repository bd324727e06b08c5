"""Losses of quality that do not count: the margins by which a route is as accurate as the reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


MOST_DROP = "max_drop"
"""Option of a case of mixed precision: share of held-out labels that may change, from 0 to 1."""
LAYER = "layer "
"""Begin of the keys of a mixed row's texts, ``layer 1`` the most sensitive: each is a `Layer`, written by ``str``."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, quantised alone: what that costs, and whether it stays in floating point."""

    name: str
    kl: float
    """Mean KL divergence of the outputs from float32's, in nats."""
    changed: float
    """Share of held-out images whose most probable class is another one."""
    bytes_saved: int
    """Bytes of weights that quantising it saves."""
    spared: bool

    def __str__(self) -> str:
        name = " ".join(self.name.replace("|", "/").split())
        kept = "spared" if self.spared else "quantised"
        return f"{name} | {self.kl!r} | {self.changed!r} | {self.bytes_saved} | {kept}"

    @staticmethod
    def read(text: str) -> Layer:
        """The layer that ``str`` wrote.

        Raises:
            ValueError: it is none.
        """
        name, kl, changed, saved, kept = text.split(" | ")
        return Layer(name=name, kl=float(kl), changed=float(changed), bytes_saved=int(saved), spared=kept == "spared")


def layers_in(texts: Mapping[str, str]) -> tuple[Layer, ...]:
    """Layers among the texts of a row, in their order; none where nothing was searched."""
    return tuple(Layer.read(text) for key, text in texts.items() if key.startswith(LAYER))
