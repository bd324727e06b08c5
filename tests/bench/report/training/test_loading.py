from __future__ import annotations

from typing import Any


def section(summary: str) -> str:
    return summary.split("## Loading")[1].split("\n## ")[0]


def finding(summary: str) -> str:
    return next(line for line in section(summary).splitlines() if line.startswith("**"))


def test_lines_go_by_workers_and_to_none(make: Any, learn: Any, summary_of: Any) -> None:
    rates = ((4, 1_200.0), (None, 9_000.0), (0, 1_000.0), (2, 1_800.0))
    summary = summary_of(*(learn.loading(workers, rate) for workers, rate in rates))
    rows = make.table(summary, "to 0 workers [×] ↑")
    assert [(row["pipeline"], row["workers"]) for row in rows] == [
        ("dataloader", "0"),
        ("dataloader", "2"),
        ("dataloader", "4"),
        ("tensor", "–"),
    ]
    assert [row["to 0 workers [×] ↑"] for row in rows] == ["baseline", "1.80", "1.20", "9.00"]
    assert [row["items/s ↑"] for row in rows] == ["1,000", "1,800", "1,200", "9,000"]
    assert (rows[0]["a pass [s] ↓"], rows[0]["first pass [s] ↓"]) == ("5.00", "9.25")
    assert len(rows[0]) <= 9


def test_items_a_second_have_an_interval(make: Any, learn: Any, summary_of: Any) -> None:
    seconds = (4.0, 4.9, 5.0, 5.0, 5.1, 6.0)
    rows = make.table(
        summary_of(learn.loading(0, 1.0, seconds=seconds), learn.loading(2, 2_000.0)), "to 0 workers [×] ↑"
    )
    assert rows[0]["items/s ↑"] == "1,000 ± 250"  # 5,000 in 4 to 6 s: 833 to 1,250
    assert rows[1]["to 0 workers [×] ↑"] == "2.00 (1.60 to 2.40)"  # 2.5 s against 4 to 6 s


def test_the_finding_counts_pairs_of_workers(learn: Any, summary_of: Any) -> None:
    summary = summary_of(
        learn.loading(0, 1_000.0),
        learn.loading(1, 1_050.0),
        learn.loading(2, 1_800.0),
        learn.loading(4, 1_200.0),
        learn.loading(None, 900.0),
    )
    # 1 than 0 is less than 10 % apart: one process tells nothing of that.
    assert finding(summary) == (
        "**Highest median with the notes' loop, 2 workers; more workers were faster in 4 of 6 pairs, slower in 1 "
        "(4 than 2).**"
    )


def test_each_thing_to_load_has_a_table_of_its_own(learn: Any, summary_of: Any) -> None:
    summary = summary_of(
        learn.loading(0, 1_000.0),
        learn.loading(0, 1_000.0, items=10_000),
        learn.loading(0, 1_000.0, source="images"),
        learn.loading(0, 500.0, source="images", model="cnn_small"),
    )
    headings = [line for line in section(summary).splitlines() if line.startswith("###")]
    assert sorted(headings) == [
        "### cifar10-jpeg, 5,000 items, loading alone",
        "### cifar10-jpeg, 5,000 items, with a step of cnn_small",
        "### random data, 10,000 items, loading alone",
        "### random data, 5,000 items, loading alone",
    ]
