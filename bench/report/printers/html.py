"""Sections as one HTML page that loads nothing and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

from bench.report.parts import (
    Bullets,
    Code,
    Commands,
    Fold,
    Line,
    Link,
    Paragraph,
    Picture,
    Pictures,
    Section,
    Strong,
    Table,
    Verdict,
    Warned,
    sort_key,
    walk,
)

_HERE = Path(__file__).parent
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


def page(sections: Sequence[Section]) -> str:
    """The whole page. The title is that of the first section."""
    style, script = _source("page.css"), _source("page.js")
    anchors = _Anchors()
    levels = [1, *(2 for _ in sections[1:])]
    body = "".join(
        piece for level, one in zip(levels, sections, strict=True) for piece in _section(one, level, anchors)
    )
    menu = [
        (anchors.of(section), section.menu)
        for section in walk(list(sections))
        if isinstance(section, Section) and section.menu
    ]
    return Template(_source("page.html")).substitute(
        title=html.escape(sections[0].title),
        policy=_policy(style, script),
        style=style,
        script=script,
        menu="".join(f'<li><a href="#{key}">{html.escape(name)}</a></li>' for key, name in menu),
        report=body,
    )


class _Anchors:
    """Fragments of sections, each given once."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._given: dict[int, str] = {}

    def of(self, section: Section) -> str:
        if id(section) not in self._given:
            key = section.anchor
            count = self._seen[key]
            self._seen[key] += 1
            self._given[id(section)] = f"{key}-{count}" if count else key
        return self._given[id(section)]


def _section(section: Section, level: int, anchors: _Anchors) -> Iterator[str]:
    key = anchors.of(section)
    yield f'<section aria-labelledby="{key}"><h{level} id="{key}">{html.escape(section.title)}</h{level}>\n'
    for part in section.parts:
        yield from _blocks(part, level, anchors)
    yield "</section>\n"


def _blocks(part: Any, level: int, anchors: _Anchors) -> Iterator[str]:
    match part:
        case Section():
            yield from _section(part, min(level + 1, 4), anchors)
        case Table():
            yield from _table(part)
        case Paragraph():
            yield f"<p>{_line(part.line)}</p>\n"
        case Warned():
            yield f"<blockquote>{_line(part.line)}</blockquote>\n"
        case Verdict():
            yield f'<p class="verdict">{_line(part.line)}</p>\n'
        case Bullets():
            yield f"<ul>{''.join(f'<li>{_line(line)}</li>' for line in part.lines)}</ul>\n" if part.lines else ""
        case Commands():
            yield f"<pre>{html.escape(chr(10).join(part.lines))}</pre>\n"
        case Pictures():
            yield f'<div class="pictures">{"".join(map(_picture, part.pictures))}</div>\n' if part.pictures else ""
        case Fold():
            yield f"<details><summary>{html.escape(part.title)}</summary>\n"
            for one in part.parts:
                yield from _blocks(one, level, anchors)
            yield "</details>\n"
        case _:
            raise TypeError(f"{part!r} is no part of a document")


def _table(found: Table[Any]) -> Iterator[str]:
    """Cells carry what they are sorted by; narrow screens show each row as a card, by the names of its cells."""
    shown = found.shown
    names = [html.escape(column.quantity.header, quote=True) for column in shown]
    kinds = [' class="w"' if column.quantity.words else "" for column in shown]
    better = [f' data-better="{column.quantity.better}"' if column.quantity.better else "" for column in shown]
    heads = [f'<th scope="col"{kind}{way}>{name}</th>' for name, kind, way in zip(names, kinds, better, strict=True)]
    yield f'<div class="table"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>\n'
    starts = [f'<td{kind} data-name="{name}"' for kind, name in zip(kinds, names, strict=True)]
    for row, values, texts in zip(found.rows, found.values, found.texts, strict=True):
        cells = [
            f"{start}{_key(value, text)}>{html.escape(text)}</td>"
            for start, value, text in zip(starts, values, texts, strict=True)
        ]
        yield f"<tr{' class=best' if found.strong(row) else ''}>{''.join(cells)}</tr>\n"
    yield "</tbody></table></div>\n"


def _key(value: Any, text: str) -> str:
    key = sort_key(value)
    if key is None or isinstance(key, str):
        return ' data-key=""' if key is None else ""
    return f' data-key="{float(key)!r}"' if text else ""


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.content).decode()
    kind = _TYPES[picture.file.rpartition(".")[2]]
    text = html.escape(picture.text, quote=True)
    return f'<figure><img src="data:{kind};base64,{data}" alt="{text}"></figure>'


def _line(line: Line) -> str:
    return "".join(map(_span, line))


def _span(span: Any) -> str:
    if isinstance(span, Strong):
        return f"<strong>{html.escape(span.text)}</strong>"
    if isinstance(span, Code):
        return f"<code>{html.escape(span.text)}</code>"
    if isinstance(span, Link):
        return f'<a href="{html.escape(span.target, quote=True)}">{html.escape(span.text)}</a>'
    return html.escape(span).replace("\n", "<br>")


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
