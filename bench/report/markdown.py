"""Markdown that no content can break, and numbers with their units' sense of precision."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

ABSENT = "–"
"""Stands in a cell for what was not measured; the report's last section says why."""
MESSAGE_LENGTH = 400
"""Characters of an error's message that a cell shows."""

WIDEST = 9
"""Columns of a table that can still be read on GitHub without scrolling."""

# An entity never gets a second meaning from Markdown; a backslash would lose its own inside a table's `\|`.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
_ENTITIES |= {"*": "&#42;", "[": "&#91;", "]": "&#93;", "~": "&#126;", "$": "&#36;", "@": "&#64;"}
_SPECIAL = re.compile("[" + re.escape("".join(_ENTITIES)) + "]")
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_PLAIN = re.compile(r"[^\W_]+(?:(?:_+|[ .,:±–-]+)[^\W_]+)*")
"""Letters and digits with harmless signs between them, as most cells: there is nothing to escape."""
_BLOCK = re.compile(r"(?:#{1,6}|[=+-]+|[0-9]{1,9}[.)])(?=\s|$)")
"""What begins a heading, an item or a rule at the start of a line."""
_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]\s*")


class Strong(str):
    """A cell that stands out: the best of its column, where it is told apart from the others."""


def escape(text: str) -> str:
    """``text`` so that Markdown shows it as it is, on one line: line breaks become ``<br>``."""
    if _PLAIN.fullmatch(text):
        return text
    return "<br>".join(map(_inline, _BREAKS.split(text.strip())))


def _inline(line: str) -> str:
    return _EMPHASIS.sub("&#95;", _SPECIAL.sub(lambda found: _ENTITIES[found[0]], line))


def unblocked(line: str) -> str:
    """Markdown that reads the same, and is no heading, item or rule where it begins a line of the document."""
    begins = _BLOCK.match(line)
    return f"{line[: begins.end() - 1]}&#{ord(line[begins.end() - 1])};{line[begins.end() :]}" if begins else line


def table(
    rows: Sequence[Mapping[str, str]],
    *,
    left: Collection[str] = (),
    keep: Collection[str] = (),
    key: Collection[str] = (),
) -> str:
    """A Markdown table of plain text, escaped here; several, below one another, where it would be too wide to read.

    Headers are ours and stand as they are. Columns named in ``left`` are words and stand to the left, others to the
    right. A column in which nothing was measured is left out unless ``keep`` names it. Those named in ``key`` say what
    a row is: they stand first in each of several tables. Without a key a table is never split.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    shown = [column for column in columns if column in keep or any(row.get(column, ABSENT) != ABSENT for row in rows)]
    return "\n\n".join(_table(rows, piece, left) for piece in _pieces(shown, key))


def _pieces(columns: Sequence[str], key: Collection[str]) -> list[list[str]]:
    """The columns of each table, about equally many and in their order."""
    first = [column for column in columns if column in key]
    rest = [column for column in columns if column not in key]
    room = max(1, WIDEST - len(first))
    count = max(1, -(-len(rest) // room)) if key else 1
    ends = [round(index * len(rest) / count) for index in range(count + 1)]
    return [[*first, *rest[start:end]] for start, end in pairwise(ends)]


def _table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], left: Collection[str]) -> str:
    """As pandas' ``to_markdown``, which takes a third of the time that a report of thousands of rows may take."""
    cells = [[column, *(_cell(row.get(column, ABSENT)) for row in rows)] for column in columns]
    widths = [max(map(len, column)) + 2 for column in cells]
    marks = [
        f":{'-' * (width - 1)}" if name in left else f"{'-' * (width - 1)}:"
        for name, width in zip(columns, widths, strict=True)
    ]
    padded = [
        [f" {cell:{'<' if name in left else '>'}{width - 2}} " for cell in column]
        for name, column, width in zip(columns, cells, widths, strict=True)
    ]
    head, *body = (f"|{'|'.join(line)}|" for line in zip(*padded, strict=True))
    return "\n".join((head, f"|{'|'.join(marks)}|", *body))


def _cell(text: str) -> str:
    return f"**{escape(text)}**" if isinstance(text, Strong) else escape(text)


def bullets(lines: Sequence[str]) -> str:
    """A list of lines that are Markdown already."""
    return "\n".join(f"- {unblocked(line)}" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits at least, every digit before the point, and thousands set apart."""
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 12)}f}"


def plus_minus(value: float | None, error: float | None, scale: float = 1.0) -> str:
    """``value ± error``, both times ``scale``, down to the error's second digit; ``value`` alone without an error."""
    if value is None:
        return ABSENT
    if not error or error < 1e-9 * abs(value):  # what is left of rounding is no error
        return number(value * scale)
    decimals = max(0, min(12, 1 - math.floor(math.log10(error * scale))))
    return f"{value * scale:,.{decimals}f} ± {error * scale:,.{decimals}f}"


def ranged(value: float | None, low: float | None, high: float | None) -> str:
    """A ratio with the ends of its interval, which are seldom equally far: ``1.66 (1.18 to 2.33)``.

    Down to the second digit of half the interval, and two decimals at least where it may matter beside 1. ``value``
    alone without an interval.
    """
    if value is None or low is None or high is None or high - low < 1e-9 * abs(value):
        return number(value)
    fine, coarse = 1 - math.floor(math.log10((high - low) / 2)), 2 - math.floor(math.log10(abs(value)))
    decimals = max(0, min(12, max(fine, min(2, coarse))))
    return f"{value:,.{decimals}f} ({low:,.{decimals}f} to {high:,.{decimals}f})"


def percent(share: float | None, error: float | None = None) -> str:
    """A fraction of 1 in per cent with two decimals."""
    if share is None:
        return ABSENT
    return f"{100 * share:.2f}" + (f" ± {100 * error:.2f}" if error is not None else "")


def small_percent(share: float | None) -> str:
    """A fraction of 1 in per cent with one decimal, below 1 % with two significant digits: 0.05 must not read 0.0."""
    value = None if share is None else 100 * share
    if value is None or value == 0 or value >= 1:
        return ABSENT if value is None else f"{value:.1f}" if value else "0"
    return number(value, 2).rstrip("0")


def points(difference: float | None, error: float | None = None) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if difference is None:
        return ABSENT
    told = unsigned_zero(f"{100 * difference:+.2f}")
    return told + (f" ± {100 * error:.2f}" if error is not None else "")


def unsigned_zero(text: str) -> str:
    """``text``, a number with its sign and perhaps ±, without the sign where only zeros are left of the number."""
    return text if any(digit in "123456789" for digit in text.split(" ±")[0]) else text[1:]


def probability(value: float | None) -> str:
    """A p-value with two significant digits; very small ones only as a bound."""
    return "<0.0001" if value is not None and value < 1e-4 else number(value, 2)


def megabytes(size: float | None) -> str:
    """Bytes in decimal megabytes."""
    return number(size / 1e6 if size is not None else None)


def integer(value: float | None) -> str:
    return ABSENT if value is None else f"{round(value):,}"


def listing(names: Sequence[str], most: int = 6) -> str:
    """Names in a row of words; beyond ``most`` of them the rest is counted."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def shortened(message: str) -> str:
    """The beginning of an error's message, with its length where that is not all."""
    text = message.strip()
    if len(text) <= MESSAGE_LENGTH:
        return text
    return f"{text[:MESSAGE_LENGTH]} … ({len(text)} characters, whole in the JSON)"
