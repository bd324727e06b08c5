from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Peak
from bench.report.page.document import index_html
from bench.report.render import render

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "a", "nav", "main", "script", "div", "img", "blockquote"),
    *(
        "details",
        "summary",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "strong",
        "em",
        "code",
        "br",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "aria-label", "aria-labelledby"),
    *("role", "tabindex", "scope", "src", "alt"),
}
NASTY = (
    "<script>window.hacked = 1</script>",
    "</script></style><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "[click](javascript:window.hacked=1)",
    "![seen](http://example.org/pixel.png)",
    "<svg/onload=window.hacked=1>",
    "a | b\n| c |\n\n# d",
    "`code` **bold** $title ${script} &lt;b&gt;",
    "<http://example.org/>",
)


class Page(HTMLParser):
    """What a page consists of, as a browser would find it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.content: dict[str, list[str]] = {"style": [], "script": [], "text": []}
        self._inside, self._in_table = "text", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self._in_table = True
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag in ("style", "script"):
            self._inside = tag
        elif tag == "br":
            self._add("<br>")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "text"
        self._in_table = self._in_table and tag != "table"

    def handle_data(self, data: str) -> None:
        self.content[self._inside].append(data)
        self._add(data)

    def _add(self, text: str) -> None:
        if self._in_table and self.tables[-1]:
            self.tables[-1][-1][-1] += text

    def all(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


@pytest.fixture
def outcomes(make: Any) -> list[Any]:
    rows = [make.inference([0.001 + 1e-5 * step] * 30, batch_size=2**step) for step in range(3)]
    failed = [make.failure("out_of_memory", "12 GB"), make.failure("unsupported", "no | compiler", mode="compiled")]
    language = [make.load_of(), make.decode(), make.chat()]
    return [*rows, make.training(), make.layer(), make.layer(0.5, precision="int8"), *failed, *language]


@pytest.fixture
def report(make: Any, outcomes: list[Any], tmp_path: Path) -> Path:
    return render([make.write(tmp_path / "run.json", outcomes)], tmp_path / "out").summary.parent


def tables_of(summary: str) -> Iterator[list[list[str]]]:
    for lines in re.findall(r"(?:^\|.*\n)+", summary, re.MULTILINE):
        head, _, *body = (
            [html.unescape(cell.strip()) for cell in line[1:-1].split("|")] for line in lines.splitlines()
        )
        yield [head, *body]


def columns_of(tables: Iterable[list[list[str]]]) -> set[tuple[str, ...]]:
    """Each column with its header, whichever table it stands in: the page joins tables that the summary splits."""
    plain = [[[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in table] for table in tables]
    return {column for table in plain for column in zip(*table, strict=True)}


def test_tables_are_those_of_the_summary_cell_by_cell(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    wanted = columns_of(tables_of((report / "summary.md").read_text(encoding="utf-8").replace("**", "")))
    assert len(wanted) > 60
    assert columns_of(page.tables) == wanted


def test_all_networks_stand_in_one_table_with_the_figures_of_their_own(make: Any, tmp_path: Path) -> None:
    peak = Peak(phase="steady", kind="rss", bytes=3_000_000)
    some = [
        make.inference([(2 + index) / 1e3] * 30, (50 + index) / 100, model=model, precision=precision, peaks=(peak,))
        for index, (model, precision) in enumerate(itertools.product(("cnn_small", "other"), ("fp32", "bf16")))
    ]
    folder = render([make.write(tmp_path / "run.json", some)], tmp_path).summary.parent
    *own, together = Page((folder / "index.html").read_text(encoding="utf-8")).tables
    head, *rows = [[cell.strip() for cell in row] for row in together]
    assert [row[head.index("model")] for row in rows] == ["cnn_small", "cnn_small", "other", "other"]
    assert {"p50 [ms]\N{NO-BREAK SPACE}↓", "accuracy [%]\N{NO-BREAK SPACE}↑"} < set(head)
    known = {(name, cell) for column in columns_of(own) for name, cell in itertools.product(column[:1], column[1:])}
    seen = {(re.sub(r"\s", " ", name), cell) for row in rows for name, cell in zip(head, row, strict=True)}
    assert {pair for pair in seen if pair[0] != "model"} <= known


def test_every_number_is_one_of_the_summary(report: Path) -> None:
    def numbers(text: str) -> set[str]:
        return set(re.findall(r"\d[\d.,]*", text))

    page = Page((report / "index.html").read_text(encoding="utf-8"))
    summary = html.unescape((report / "summary.md").read_text(encoding="utf-8"))
    assert numbers(" ".join(page.content["text"])) == numbers(re.sub(r"\]\([^)]*\)", "]", summary))


def test_the_page_needs_no_other_file(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    assert len(page.all("src")) >= 3
    assert all(re.match("data:image/(svg.xml|png);base64,", source) for source in page.all("src"))
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.elements}
    shown = {base64.b64decode(source.partition(",")[2]) for source in page.all("src")}
    assert shown == {file.read_bytes() for file in (report / "figures").iterdir()}


def test_no_tag_of_ours_is_shown_as_text(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    assert not re.search("</?[a-z]", "".join(page.content["text"]))
    assert len(page.of("details")) == len(page.of("summary")) == 1


def test_a_picture_that_is_not_at_hand_is_its_description() -> None:
    page = Page(index_html("# Title\n\n![what it shows](http://example.org/a.png)\n", {}))
    assert "what it shows" in page.content["text"]
    assert not page.all("src")


def test_links_inside_the_page_lead_somewhere(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    inside = [link[1:] for link in page.all("href") if link.startswith("#")]
    assert len(inside) > 5
    assert set(inside) <= set(page.all("id"))
    assert len(page.all("id")) == len(set(page.all("id")))


def test_headings_have_the_ids_of_github() -> None:
    page = Page(index_html("# One: `two`, three\n\n## A_b (c)\n\n## A_b (c)\n", {}))
    assert page.all("id") == ["report", "one-two-three", "a_b-c", "a_b-c-1"]


def test_only_what_the_page_came_with_may_run(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    for name in ("style", "script"):
        source = "".join(page.content[name])
        assert len(source) > 500
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


@pytest.mark.parametrize("text", NASTY)
def test_no_name_note_or_message_becomes_markup(make: Any, tmp_path: Path, text: str) -> None:
    outcomes = [
        make.inference(model=text, absent={"energy": text}, notes=(text,)),
        make.training(model=text, recipe=text),
        make.layer(model=text),
        make.failure("error", text, model=text),
        make.load_of(model=text),
        make.chat(said=text, model=text),
    ]
    models, data = [make.language_model(name=text, caveat=text)], [make.dataset(name=text)]
    file = make.write(tmp_path / "run.json", outcomes, language_models=models, datasets=data)
    page = Page((render([file], tmp_path).summary.parent / "index.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.elements} <= TAGS
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    assert len(page.of("script")) == len(page.of("style")) == 1
    assert "hacked" not in "".join((*page.content["script"], *page.all("href")))
    assert all(source.startswith("data:image/") for source in page.all("src"))
    assert not [link for link in page.all("href") if "example.org" in link]
    assert all(len({len(row) for row in table}) == 1 for table in page.tables)
    first = text.splitlines()[0].split("|")[0].strip()
    assert first in " ".join("".join(page.content["text"]).split())


def test_raw_html_and_stray_bars_in_markdown_stay_text() -> None:
    page = Page(index_html("# T\n\n<b onclick=x>bold</b>\n\n| no table\n\n| a |\n|---:|\n| <i>x</i><br>y |\n", {}))
    assert not {"b", "i"} & {tag for tag, _ in page.elements}
    assert [[[cell.strip() for cell in row] for row in table] for table in page.tables] == [
        [["a"], ["<i>x</i><br>\ny"]]
    ]
    assert {"<b onclick=x>bold</b>", "| no table"} <= set("".join(page.content["text"]).splitlines())


def markdown_of(*rows: str) -> str:
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return "".join((head, f"|{'|'.join([':--'] * len(rows[0]))}|\n", *body))


def test_tables_that_were_split_are_one_again() -> None:
    first, second = markdown_of("kab", "x12", "y34"), markdown_of("kc", "x5", "y6")
    other, text = markdown_of("kd", "x7", "z8"), "\nwords\n\n"
    page = Page(index_html("\n".join((first, second, other)) + text + markdown_of("ke", "z9"), {}))
    plain = [["".join(cell.strip() for cell in row) for row in table] for table in page.tables]
    assert plain == [["kabc", "x125", "y346"], ["kd", "x7", "z8"], ["ke", "z9"]]


def test_headings_are_text_in_the_title_and_in_the_list_of_sections() -> None:
    page = Page(index_html("# &lt;b&gt;\n\n## &lt;i&gt; &amp; &quot;j&quot;\n", {}))
    assert not {"b", "i"} & {tag for tag, _ in page.elements}
    assert [text for text in page.content["text"] if text.strip() and "report" not in text] == [
        *("<b>", '<i> & "j"', "<b>", '<i> & "j"')
    ]
