"""index.html as Chromium shows it; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.report.render import render
from tests.bench.report.printers.test_printers import NASTY

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE = {"width": 390, "height": 844}
LATENCIES = (3.0, 0.9, 1200.0, 25.0)
"""Milliseconds. By letter 1,200 would come first."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if found is None:
            pytest.skip("no Chromium here: Debian's package chromium or `playwright install chromium` brings one")
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page, with all that it asked for or complained of."""

    def __init__(self, chromium: Any, file: Path, **context: Any) -> None:
        self.file, self.requests, self.complaints = file, list[str](), list[str]()
        self.page = chromium.new_context(**context).new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(file.as_uri())
        self.table = self.page.locator("table", has=self.page.get_by_role("button", name="judged")).first

    def column(self, name: str) -> list[str]:
        return [str(text) for text in self.table.locator(f'td[data-name^="{name}"]').all_text_contents()]

    def head(self, name: str) -> Any:
        return self.table.get_by_role("columnheader", name=name)

    def finish(self) -> None:
        outside = [url for url in self.requests if url != self.file.as_uri() and not url.startswith("data:")]
        assert (outside, self.complaints) == ([], [])
        self.page.context.close()


@pytest.fixture
def open_page(chromium: Any, make: Any, tmp_path: Path) -> Any:
    def open_page(*outcomes: Any, **context: Any) -> Opened:
        rows = outcomes or [
            make.inference([1e-3 * value] * 30, batch_size=2**index, precision="bf16" if index % 2 else "fp32")
            for index, value in enumerate(LATENCIES * 3)
        ]
        render([make.write(tmp_path / "run.json", [*rows, make.training()])], tmp_path / "out")
        return Opened(chromium, tmp_path / "out" / "index.html", **context)

    return open_page


def test_a_column_is_sorted_by_its_numbers_both_ways_and_back(open_page: Any) -> None:
    opened = open_page()
    before = opened.column("p50")
    ordered = [text for text in ("0.900", "3.00", "25.0", "1,200") for _ in range(3)]
    assert before != ordered
    for wanted, state in ((ordered, "ascending"), (ordered[::-1], "descending"), (before, "none")):
        opened.head("p50").get_by_role("button").click()
        assert opened.column("p50") == wanted
        assert opened.head("p50").get_attribute("aria-sort") == state
    opened.finish()


def test_higher_is_better_begins_with_the_highest_and_what_is_absent_comes_last(make: Any, open_page: Any) -> None:
    rows = [make.inference([0.004] * 30), make.inference([0.002] * 30, precision="bf16")]
    opened = open_page(*rows, make.inference([0.001] * 30, precision="nf4", batch_size=2))
    opened.head("× fp32").get_by_role("button").click()
    assert opened.column("× fp32") == ["2.00", "1.00", "–"]
    opened.head("× fp32").get_by_role("button").click()
    assert opened.column("× fp32") == ["1.00", "2.00", "–"]
    opened.finish()


def test_columns_are_sorted_by_the_keyboard(open_page: Any) -> None:
    opened = open_page()
    opened.head("batch").get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    opened.page.keyboard.press("Enter")
    assert opened.column("batch") == [f"{2**place:,}" for place in range(11, -1, -1)]
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Space")
    assert opened.column("route") == sorted(opened.column("route"))
    assert opened.head("batch").get_attribute("aria-sort") == "none"
    opened.finish()


def test_rows_are_filtered_by_all_words_and_counted(open_page: Any) -> None:
    opened = open_page()
    tools = opened.table.locator("xpath=ancestor::div[@class='table']/preceding-sibling::div[1]")
    field, count = tools.get_by_label("Filter rows"), tools.locator("output")
    assert count.inner_text() == "12 rows"
    field.fill("BF16 eager")
    assert set(opened.column("route")) == {"bf16 eager"}
    assert count.inner_text() == "6 of 12 rows"
    field.fill("no such row")
    assert opened.table.locator("tbody tr").count() == 0
    opened.finish()


def test_it_fits_a_telephone_and_follows_the_colours_of_the_system(open_page: Any) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        opened = open_page(viewport=PHONE, color_scheme=scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        wide = "[...document.querySelectorAll('*')].filter(item => item.scrollWidth > item.clientWidth + 1 && "
        wide += "['auto', 'scroll'].includes(getComputedStyle(item).overflowX)).length"
        assert opened.page.evaluate(wide) == 0
        grounds[scheme] = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert opened.page.evaluate("document.images.length && [...document.images].every(image => image.naturalWidth)")
        opened.finish()
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}


def test_the_menu_has_five_entries_at_most_and_they_lead_somewhere(open_page: Any) -> None:
    opened = open_page()
    links = opened.page.locator("nav a")
    assert 1 < links.count() <= 5
    for place in range(links.count()):
        assert opened.page.locator(str(links.nth(place).get_attribute("href"))).count() == 1
    opened.finish()


def test_nothing_that_a_report_names_runs(make: Any, open_page: Any) -> None:
    outcomes = [make.inference(model=text, notes=(text,)) for text in NASTY]
    outcomes += [make.failure("error", text, model=text) for text in NASTY]
    opened = open_page(*outcomes, *(make.chat(said=text, model=text) for text in NASTY))
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("script").count() == 1
    assert opened.page.get_by_text(NASTY[2]).count() > 1
    opened.finish()
