"""Sections as Markdown that no content can break."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.formats import ABSENT
from bench.report.parts import (
    Bullets,
    Code,
    Commands,
    Fold,
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

# An entity never gets a second meaning from Markdown; a backslash would lose its own inside a table's `\|`.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
_ENTITIES |= {"*": "&#42;", "[": "&#91;", "]": "&#93;", "~": "&#126;", "$": "&#36;", "@": "&#64;"}
_SPECIAL = re.compile("[" + re.escape("".join(_ENTITIES)) + "]")
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_BLOCK = re.compile(r"(?:#{1,6}|[=+-]+|[0-9]{1,9}[.)])(?=\s|$)")
"""Begin of a heading, an item or a rule at the start of a line."""
_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]\s*")


def document(sections: Sequence[Section]) -> str:
    """The first section's title is that of the document."""
    blocks = [*_section(sections[0], 1), *(block for one in sections[1:] for block in _section(one, 2))]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """``text`` so that Markdown shows it as it is, on one line: line breaks become ``<br>``."""
    return "<br>".join(map(_inline, _BREAKS.split(text.strip())))


def line_of(line: Line) -> str:
    return "".join(map(_span, line))


def table(found: Table[Any]) -> str:
    """By pandas' ``to_markdown``; empty where the table has no row."""
    rows = found.texts
    if not rows:
        return ""
    strong = [found.strong(row) for row in found.rows]
    names = [place for place, column in enumerate(found.shown) if column.quantity.words]
    marked = next(iter(names), 0)
    cells = [
        [_cell(text, bold and place == marked) for place, text in enumerate(row)]
        for row, bold in zip(rows, strong, strict=True)
    ]
    frame = pd.DataFrame(cells, columns=[escape(header) for header in found.headers])
    sides = ["left" if column.quantity.words else "right" for column in found.shown]
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=sides))


def _section(section: Section, level: int) -> list[str]:
    title = f"{'#' * level} {escape(section.title)}"
    return [title, *(block for part in section.parts for block in _blocks(part, level))]


def _blocks(part: Any, level: int) -> list[str]:
    """Blocks with an empty line between them."""
    match part:
        case Section():
            return _section(part, min(level + 1, 4))
        case Table():
            return [text for text in (table(part),) if text]
        case Paragraph():
            return [_unblocked(line_of(part.line))]
        case Warned():
            return [f"> **{line_of(part.line)}**"]
        case Verdict():
            return [f"- {line_of(part.line)}"]
        case Bullets():
            return ["\n".join(f"- {_unblocked(line_of(line))}" for line in part.lines)] if part.lines else []
        case Commands():
            return ["\n".join(f"    {_BREAKS.sub(' ', line)}" for line in part.lines)]
        case Pictures():
            shown = [f"![{escape(picture.text)}](figures/{picture.file})" for picture in part.pictures]
            return [" ".join(shown)] if shown else []
        case Fold():
            inside = [block for one in part.parts for block in _blocks(one, level)]
            return [f"<details><summary>{escape(part.title)}</summary>", *inside, "</details>"]
    raise TypeError(f"{part!r} is no part of a document")


def _inline(line: str) -> str:
    return _EMPHASIS.sub("&#95;", _SPECIAL.sub(lambda found: _ENTITIES[found[0]], line))


def _unblocked(line: str) -> str:
    """Markdown that reads the same, and is no heading, item or rule where it begins a line."""
    begins = _BLOCK.match(line)
    return f"{line[: begins.end() - 1]}&#{ord(line[begins.end() - 1])};{line[begins.end() :]}" if begins else line


def _span(span: Any) -> str:
    if isinstance(span, Strong):
        return f"**{escape(span.text)}**"
    if isinstance(span, Code):
        return f"`{span.text}`"
    if isinstance(span, Link):
        return f"[{escape(span.text)}]({span.target})"
    return f"{' ' * span.startswith(' ')}{escape(span)}{' ' * (span.endswith(' ') and span != ' ')}"


def _cell(text: str, bold: bool) -> str:
    shown = escape(text) or ABSENT
    return f"**{shown}**" if bold and shown != ABSENT else shown
