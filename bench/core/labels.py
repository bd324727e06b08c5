"""Class labels as text, so that a run's JSON carries its predictions and a report can pair two rows anywhere.

Standard library only: workers write, the pytest process copies, the report reads.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from array import array
from collections.abc import Iterable

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
