"""Quality as a run's JSON carries it: predicted labels as text, and margins within which a loss does not count.

Standard library only: workers write, the pytest process copies, the report reads.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping
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


LARGEST = 2**16 - 1


def pack(labels: Iterable[int]) -> str:
    """Base64 of the zlib-compressed labels as little-endian 16-bit integers: ten classes take four bits a label.

    Raises:
        ValueError: a label is below 0 or above ``LARGEST``.
    """
    try:
        numbers = array("H", labels)
    except OverflowError as error:
        raise ValueError(f"class labels are from 0 to {LARGEST}: {error}") from error
    return base64.b64encode(zlib.compress(_little(numbers).tobytes(), 9)).decode("ascii")


def unpack(text: str) -> list[int]:
    """The labels that ``pack`` made text of.

    Raises:
        ValueError: the text is damaged.
    """
    numbers = array("H")
    try:
        numbers.frombytes(zlib.decompress(base64.b64decode(text, validate=True)))
    except zlib.error as error:
        raise ValueError(f"damaged labels: {error}") from error
    return _little(numbers).tolist()


def digest(labels: Iterable[int]) -> str:
    """SHA-256 of the labels as little-endian int64."""
    return hashlib.sha256(_little(array("q", labels)).tobytes()).hexdigest()


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


MOST_DROP = "max_drop"
"""Option of a case of mixed precision: accuracy on held-out images that may be lost, from 0 to 1."""
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
