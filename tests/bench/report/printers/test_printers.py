"""Four printers of the same objects: none loses or changes a value."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report.columns import words
from bench.report.parts import (
    Bullets,
    Code,
    Column,
    Commands,
    Fold,
    Link,
    Picture,
    Pictures,
    Quantity,
    Section,
    Strong,
    Table,
    Verdict,
    Warned,
    paragraph,
)
from bench.report.printers.console import screen
from bench.report.printers.csv import csv_of, header
from bench.report.printers.html import page
from bench.report.printers.markdown import document, escape, table

NASTY = (
    "a|b",
    "`code` and ``more``",
    "<script>window.hacked = 1</script>",
    "</script></style><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "first\nsecond\r\n\r\n# third\n| a | b |\n|---|---|",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "===",
    "```",
    "[text](javascript:alert(1))",
    "![text](x.png)",
    "**bold** _it_ __b__ ~~gone~~",
    "\\|\\`\\",
    "&lt;b&gt; &#124;",
    "$x$ ${script} @someone",
    "</details></summary>",
    "<!-- ",
    "\u2028line\u2029paragraph\x0b\x0c\x85",
)
_KINDS = re.compile(r"(#+ |\||- |\d+[.)] |[+*] |> ?|!\[|<details><summary>|</details>|```|~~~|={3,}|-{3,}| {4}|\t|)")


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    seconds: float | None


def table_of(*rows: Row) -> Table[Row]:
    milliseconds = Quantity(name="p50", unit="ms", scale=1e3, better="lower")
    columns = (words("route", lambda row: row.name), Column(quantity=milliseconds, value=lambda row: row.seconds))
    return Table(columns=columns, rows=rows, strong=lambda row: row.name == "best")


def everything(text: str) -> Section:
    """A section with every kind of part, ``text`` wherever a user chooses the words."""
    parts = (
        paragraph(text, " and ", Strong(text), Link(text, "#anchor"), Code("plain")),
        Warned((text,)),
        Bullets(((text,), (Strong(text),))),
        Verdict(subject=text, route=text, facts=(text,), warnings=(text,)),
        Commands((text,)),
        Fold(title=text, parts=(paragraph(text),)),
        Pictures((Picture(file="one.svg", content=b"<svg></svg>", text=text),)),
        Section(title=text, parts=(table_of(Row(name=text, seconds=0.001), Row(name=text, seconds=None)),)),
    )
    return Section(title=text, parts=parts, menu=text)


def shape(markdown: str) -> list[str]:
    """What each line is to Markdown, and how many cells a line of a table has."""
    found = []
    for line in markdown.splitlines():
        kind = _KINDS.match(line)
        assert kind is not None
        found.append(f"{kind[1].strip() or '-' * bool(line)}{line.count('|') if line.startswith('|') else ''}")
    return found


class Reader(HTMLParser):
    """Tags, text and attributes of a page, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


@pytest.mark.parametrize("text", NASTY)
def test_no_text_changes_the_shape_of_the_markdown(text: str) -> None:
    assert shape(document([everything(text)])) == shape(document([everything("plain")]))


@pytest.mark.parametrize("text", NASTY)
def test_no_text_changes_the_page(text: str) -> None:
    nasty, plain = Reader(page([everything(text)])), Reader(page([everything("plain")]))
    assert [tag for tag in nasty.tags if tag != "br"] == plain.tags
    assert not any(name.startswith("on") for name, _ in nasty.attributes)
    links = [value for name, value in nasty.attributes if name in ("href", "src")]
    assert all(value and value.startswith(("#", "data:")) for value in links)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_moves_the_cursor(text: str) -> None:
    assert all(sign.isprintable() or sign == "\n" for sign in screen(everything(text + "\x1b[2K")))


def test_a_table_says_the_same_in_every_printer() -> None:
    rows = (Row(name="best", seconds=0.001), Row(name="other", seconds=None))
    section = Section(title="Title", parts=(table_of(*rows),))
    assert table(table_of(*rows)).splitlines() == [
        "| route    |   p50, ms ↓ |",
        "|:---------|------------:|",
        "| **best** |        1.00 |",
        "| other    |           – |",
    ]
    assert re.findall(r"<td[^>]*>([^<]*)", page([section])) == ["best", "1.00", "other", "–"]
    assert re.findall(r'data-key="([^"]*)"', page([section])) == ["0.001", ""]
    assert "1.00" in screen(section)


def test_columns_without_a_value_are_left_out() -> None:
    assert table_of(Row(name="a", seconds=None)).headers == ["route"]


def test_an_empty_table_is_nothing() -> None:
    assert document([Section(title="T", parts=(table_of(),))]) == "# T\n"


def test_the_page_runs_only_what_is_its_own() -> None:
    found = page([everything("x")])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', found)
    assert policy is not None
    assert "default-src 'none'" in html.unescape(policy[1])
    assert "unsafe" not in policy[1]
    assert found.count("<script>") == 1


def test_numbers_stay_as_they_are() -> None:
    for text in ("-0.86 ± 1.34", "+1.00", "1.50", "2030-01-02", "a_b"):
        assert escape(text) == text


def test_the_csv_reads_back_exactly(make: Any, content_of: Any) -> None:
    rows = (make.inference([0.1 + 0.2] * 30, model="=1+1"), make.in_turns([[2.0]] * 3, precision="bf16"))
    content = content_of(*rows, make.failure("error", "a\r\nb\x00", precision="nf4"))
    frame = pd.read_csv(io.StringIO(csv_of(content.results, content.failures)))
    by_precision = frame.set_index("precision")
    assert by_precision.loc["fp32", "median_seconds"] == 0.1 + 0.2
    assert by_precision.loc["fp32", "model"] == "'=1+1"
    assert by_precision.loc["bf16", "ratio_to_reference"] == 2.0
    assert by_precision.loc["bf16", "ratio_from"] == 2.0
    assert by_precision.loc["nf4", "outcome"] == "error"
    assert by_precision.loc["nf4", "message"] == "a\nb\N{REPLACEMENT CHARACTER}"
    wanted = {"runtime", "precision", "mode", "ratio_to_reference", "ratio_from", "ratio_to", "accuracy_change"}
    assert wanted | {"weight_bytes", "figure: throughput [images/s]"} <= set(frame.columns)


def test_every_column_of_the_csv_has_a_name_of_its_own_and_a_meaning() -> None:
    names = [name for name, _ in header()]
    assert len(set(names)) == len(names)
    assert all(meaning for _, meaning in header())


def test_the_documentation_has_every_column() -> None:
    text = (Path(__file__).resolve().parents[4] / "docs" / "measurements.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE))
    assert told == dict(header())


def test_the_console_leaves_out_what_is_about_pictures() -> None:
    inside = Section(title="Seen", parts=(Pictures(()), paragraph("A point is a route.")))
    assert "route" not in screen(Section(title="Title", parts=(paragraph("Text."), inside)))
