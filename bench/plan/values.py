"""Values of options: from the text of the command line to checked values. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import models
from bench.core.errors import InputError, unknown_name
from bench.core.quality import margins_from

SWEEP = tuple(2**power for power in range(17))
"""Batch sizes of a sweep, which ends where no route gains any more."""
Parse = Callable[[str, Any], Any]
"""From an option's name and its value to the value that the plan uses; raises InputError."""
PUBLISHED = re.compile(r"[A-Z][A-Z0-9_]*")
"""Names of torchvision's weights: ``DEFAULT``, ``IMAGENET1K_V2``."""


def names(what: str, known: Iterable[str]) -> Parse:
    """Names with commas between, each of them known."""

    def parse(option: str, value: str) -> tuple[str, ...]:
        for name in split(option, value):
            if name not in known:
                raise unknown_name(what, name, known)
        return split(option, value)

    return parse


def split(option: str, value: str) -> tuple[str, ...]:
    """Parts of ``value`` between commas, each once.

    Raises:
        InputError: there is none.
    """
    parts = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not parts:
        raise InputError(f"{option} '{value}' names nothing; give one name, or several with commas between them.")
    return parts


def numbers(least: int, *, falling: bool = False) -> Parse:
    """Whole numbers with commas between, none below ``least``, sorted."""

    def parse(option: str, value: str) -> tuple[int, ...]:
        try:
            each = tuple(dict.fromkeys(int(text) for text in split(option, value)))
        except ValueError:
            raise InputError(f"{option} {value} is not a list of whole numbers, like 1,32.") from None
        for number in each:
            at_least(least)(option, number)
        return tuple(sorted(each, reverse=falling))

    return parse


def batch_sizes(option: str, value: str) -> tuple[int, ...]:
    """Whole numbers with commas between, falling; or the doublings of a sweep, rising."""
    sizes: tuple[int, ...] = SWEEP if value.strip() == "sweep" else numbers(1, falling=True)(option, value)
    return sizes


def at_least(least: int) -> Parse:
    """A number that is not below ``least``."""

    def parse(option: str, value: int) -> int:
        if value < least:
            raise InputError(f"{option} {value} is below {least}; give {least} or more.")
        return value

    return parse


def seconds(option: str, value: float) -> float:
    """A finite time above 0."""
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{option} {value} is no time limit; give seconds above 0.")
    return value


def minutes(option: str, value: float) -> float:
    """A finite length of a run above 0."""
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{option} {value:g} is no length of a run; give minutes above 0, like 3.")
    return value


def margin(option: str, value: str) -> str:
    """Margins of quality, as they were written."""
    margins_from(option, value)
    return value


def path(option: str, value: str) -> Path:
    """A path, ``~`` being the user's home."""
    return Path(value).expanduser()


def file(option: str, value: str) -> Path:
    """A file that is there."""
    named = path(option, value)
    if not named.is_file():
        raise InputError(f"{option} {value} is no file; give a file that is there.")
    return named.resolve()


def weights(option: str, value: str) -> str:
    """A file of weights, a file and the key of one state dict in it (``FILE:KEY``), or torchvision's own by name."""
    named, key = models.split_key(value)
    if named.is_file():
        return f"{named.resolve()}:{key}" if key else str(named.resolve())
    if PUBLISHED.fullmatch(value):
        return value
    raise InputError(
        f"{option} {value} is no file; give one that torch.save wrote from a state dict (FILE, or FILE:KEY), "
        "or DEFAULT for torchvision's own."
    )


def statistics(option: str, value: str) -> str:
    """Three means and three standard deviations, as given."""
    with suppress(ValueError):
        halves = [[float(number) for number in half.split(",")] for half in value.split("/")]
        if [len(half) for half in halves] == [3, 3] and all(number > 0 for number in halves[1]):
            return value
    raise InputError(
        f"{option} {value} is not three means, a slash and three standard deviations above 0, "
        "like 0.485,0.456,0.406/0.229,0.224,0.225."
    )
