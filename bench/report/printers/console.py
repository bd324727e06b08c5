"""Sections as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.parts import (
    Bullets,
    Code,
    Commands,
    Line,
    Link,
    Paragraph,
    Pictures,
    Section,
    Strong,
    Table,
    Verdict,
    Warned,
)

WIDTH = 120
NARROW = 32
"""Letters of a line of words in a table."""


def screen(section: Section) -> str:
    """The section without its pictures and subsections."""
    blocks = [section.title, "=" * len(section.title)]
    for part in section.parts:
        blocks += _blocks(part)
    return "\n".join(_printable(block) for block in blocks if block) + "\n"


def _blocks(part: Any) -> Sequence[str]:
    match part:
        case Verdict():
            return [_wrapped(part.line, "- ")]
        case Bullets():
            return [_wrapped(line, "- ") for line in part.lines]
        case Paragraph():
            return [_wrapped(part.line)]
        case Warned():
            return [_wrapped(("! ", *part.line))]
        case Commands():
            return [f"    {line}" for line in part.lines]
        case Section() if any(isinstance(one, Pictures) for one in part.parts):
            return []
        case Section():
            return ["", part.title, *(block for one in part.parts for block in _blocks(one))]
        case Table():
            rows = part.texts
            if not rows:
                return []
            frame = pd.DataFrame(rows, columns=part.headers)
            sides = ["left" if column.quantity.words else "right" for column in part.shown]
            widths = [NARROW if column.quantity.words else None for column in part.shown]
            shown = frame.to_markdown(
                index=False, tablefmt="simple", disable_numparse=True, colalign=sides, maxcolwidths=widths
            )
            return [str(shown)]
    return []


def _wrapped(line: Line, start: str = "") -> str:
    text = "".join(_span(span) for span in line)
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _span(span: Any) -> str:
    return span.text if isinstance(span, Strong | Code | Link) else str(span)


def _printable(text: str) -> str:
    """Without control characters, which a name from elsewhere could move the cursor with."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)
