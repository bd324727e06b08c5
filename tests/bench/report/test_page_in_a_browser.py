"""index.html as Chromium shows it; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.report.render import render
from tests.bench.report.test_page import NASTY

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE = {"width": 390, "height": 844}
LATENCIES = (3.0, 0.9, 1200.0, 25.0)
"""Milliseconds, of batch sizes 1, 2, 4 and 8. By letter 1,200 would come first."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if found is None:
            pytest.skip("no Chromium here: Debian's package chromium or `playwright install chromium` brings one")
        browser = driver.chromium.launch(executable_path=found)
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
        self.table = self.page.locator("table", has=self.page.get_by_role("button", name="p50 [ms]")).first

    def column(self, name: str) -> list[str]:
        heads = self.table.locator("thead th").all_inner_texts()
        place = next(index for index, head in enumerate(heads) if head.startswith(name))
        return [cells.split("\t")[place].strip() for cells in self.table.locator("tbody tr").all_inner_texts()]

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
            for index, value in enumerate(LATENCIES * 2)
        ]
        render([make.write(tmp_path / "run.json", [*rows, make.training()])], tmp_path / "out")
        return Opened(chromium, tmp_path / "out" / "index.html", **context)

    return open_page


def test_a_column_is_sorted_by_its_numbers_both_ways_and_back(open_page: Any) -> None:
    opened = open_page()
    before = opened.column("p50")
    ordered = ["0.900", "0.900", "3.00", "3.00", "25.0", "25.0", "1,200", "1,200"]
    assert before != ordered
    for wanted, state in ((ordered, "ascending"), (ordered[::-1], "descending"), (before, "none")):
        opened.head("p50").get_by_role("button").click()
        assert opened.column("p50") == wanted
        assert opened.head("p50").get_attribute("aria-sort") == state
    opened.finish()


def test_higher_is_better_begins_with_the_highest_and_what_is_absent_comes_last(make: Any, open_page: Any) -> None:
    opened = open_page(
        *(make.inference(accuracy=value, batch_size=2**index) for index, value in enumerate((0.5, None, 0.75)))
    )
    opened.head("accuracy").get_by_role("button").click()
    assert opened.head("accuracy").get_attribute("aria-sort") == "descending"
    assert [cell[:2] for cell in opened.column("accuracy")] == ["75", "50", "–"]
    opened.head("accuracy").get_by_role("button").click()
    assert [cell[:2] for cell in opened.column("accuracy")] == ["50", "75", "–"]
    opened.finish()


def test_columns_are_sorted_by_the_keyboard(open_page: Any) -> None:
    opened = open_page()
    opened.head("batch").get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    opened.page.keyboard.press("Enter")
    assert opened.column("batch") == ["128", "64", "32", "16", "8", "4", "2", "1"]
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Space")
    assert opened.column("precision") == ["bf16"] * 4 + ["fp32"] * 4
    assert opened.head("batch").get_attribute("aria-sort") == "none"
    opened.finish()


def test_rows_are_filtered_by_all_words_and_counted(open_page: Any) -> None:
    opened = open_page()
    tools = opened.table.locator("xpath=ancestor::div[contains(@class, 'scroll')]/preceding-sibling::div[1]")
    field, count = tools.get_by_label("Filter rows"), tools.locator("output")
    assert count.inner_text() == "8 rows"
    field.fill("BF16 eager")
    assert opened.column("precision") == ["bf16"] * 4
    assert count.inner_text() == "4 of 8 rows"
    opened.head("p50").get_by_role("button").click()
    assert opened.column("p50") == ["0.900", "0.900", "25.0", "25.0"]
    field.fill("no such row")
    assert opened.table.locator("tbody tr").count() == 0
    field.fill("")
    assert len(opened.column("p50")) == 8
    opened.finish()


def test_long_tables_are_folded_and_unfolded(make: Any, open_page: Any) -> None:
    opened = open_page(*(make.inference(seed=seed) for seed in range(201)))
    rows = opened.table.locator("tbody tr")
    assert rows.count() == 200
    opened.page.get_by_role("button", name="Show all 201 rows").first.click()
    assert rows.count() == 201
    assert rows.last.is_visible()
    opened.finish()


def test_it_fits_a_telephone_and_follows_the_colours_of_the_system(open_page: Any) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        opened = open_page(viewport=PHONE, color_scheme=scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        grounds[scheme] = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert opened.page.evaluate("document.images.length && [...document.images].every(image => image.naturalWidth)")
        opened.finish()
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}


def test_nothing_that_a_report_names_runs(make: Any, open_page: Any) -> None:
    outcomes = [make.inference(model=text, notes=(text,)) for text in NASTY]
    outcomes += [make.failure("error", text, model=text) for text in NASTY]
    opened = open_page(*outcomes, *(make.chat(said=text, model=text) for text in NASTY))
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("script").count() == 1
    assert opened.page.get_by_text(NASTY[0]).count() > 1
    opened.finish()
