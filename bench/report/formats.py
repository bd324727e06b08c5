"""Numbers and lists of names as text, the same in every printer."""

from __future__ import annotations

import math
from collections.abc import Sequence

ABSENT = "–"
"""Stands in a cell for what was not measured."""
MESSAGE_LENGTH = 240
"""Characters of an error's message that a cell shows."""


def number(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits at least, every digit before the point, and thousands set apart."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return fixed(value, min(decimals, 12))


def fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''},.{decimals}f}"


def decimals_of(error: float) -> int:
    """Decimals down to the second digit of ``error``."""
    return max(0, min(12, 1 - math.floor(math.log10(error))))


def unsigned_zero(text: str) -> str:
    """``text``, a number with its sign, without the sign where only zeros are left of the number."""
    signed = text[:1] in "+-" and not any(digit in "123456789" for digit in text.split(" ±")[0])
    return text[1:] if signed else text


def times(ratio: float) -> str:
    """A ratio with two digits, for sentences."""
    return f"{number(ratio, 2)} ×"


def per_cent(share: float, digits: int = 2) -> str:
    """A fraction of 1 in per cent."""
    return f"{number(100 * share, digits)} %"


def megabytes(size: float) -> str:
    return f"{number(size / 1e6)} MB"


def listing(names: Sequence[str], most: int = 6) -> str:
    """Names in a row of words; beyond ``most`` of them the rest is counted."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def counted(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def ranged(values: Sequence[float], digits: int = 2) -> str:
    """``1.2 to 2.6``, or one number where both ends read the same."""
    return " to ".join(dict.fromkeys((number(min(values), digits), number(max(values), digits))))


def shortened(message: str, most: int = MESSAGE_LENGTH) -> str:
    """Beginning of an error's message, on one line, with its length where that is not all."""
    text = " ".join(message.split())
    if len(text) <= most:
        return text
    return f"{text[:most]} … ({len(text)} characters)"
