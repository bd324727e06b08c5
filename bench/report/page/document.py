"""The page as a whole: one HTML file that loads nothing, and that runs and styles itself with what is in it only."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from bench.report.page.prose import Prose
from bench.report.page.tables import joined, parse, table_html

_HERE = Path(__file__).parent
_TABLES = re.compile(r"^((?:\|.*\n\|[-:|]+\|\n(?:\|.*\n)*\n?)+)", re.MULTILINE)
"""Tables with nothing between them."""


def index_html(summary: str, pictures: Mapping[str, bytes]) -> str:
    """``summary`` (summary.md, to the letter) as a page; ``pictures`` are the files that it shows, by their links.

    Tables are cut out before the rest is parsed: for 10,000 rows markdown-it-py takes ten times as long, and 570 MB.
    """
    prose = Prose(pictures)
    pieces = zip(_TABLES.split(summary), itertools.cycle((False, True)), strict=False)
    parts = [_tables(piece, prose) if is_tables else prose.html(piece) for piece, is_tables in pieces]
    style, script = _source("index.css"), _source("index.js")
    return Template(_source("index.html")).substitute(
        title=html.escape(prose.title or "Report"),
        policy=_policy(style, script),
        style=style,
        script=script,
        sections="".join(f'<li><a href="#{key}">{html.escape(text)}</a></li>' for key, text in prose.sections),
        report="".join(parts),
    )


def _tables(markdown: str, prose: Prose) -> str:
    tables = joined(parse(table) for table in markdown.strip().split("\n\n"))
    return "".join(table_html(table, prose.inline, prose.last_heading) for table in tables)


def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Only this style and this script, pictures only from within: whatever else got into the page stays dead."""
    allowed = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
