from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.report.markdown import number
from bench.report.render import render


def speed_ups(make: Any, speeds: Mapping[int, float], precision: str = "int8", **changes: Any) -> list[Any]:
    """fp32 at 1 ms and ``precision`` so many times faster, by batch size."""
    options = {"options": (("width", changes.pop("width", 256)),), **changes}
    fp32 = [make.layer(1.0, batch_size=size, **options) for size in speeds]
    shares = options.pop("shares", (1.0, 1.0))
    faster = [
        make.layer(1.0 / speed, batch_size=size, precision=precision, shares=shares, error=0.001 * size, **options)
        for size, speed in speeds.items()
    ]
    return fp32 + faster


@pytest.mark.parametrize(
    ("speeds", "begins"),
    [
        ({1: 2.0, 8: 2.0, 64: 2.0}, "1"),
        ({1: 0.5, 8: 2.0, 64: 2.0}, "8"),
        ({1: 2.0, 8: 0.5, 64: 2.0}, "64"),
        ({1: 0.5, 8: 2.0, 64: 0.5, 512: 2.0}, "512"),
        ({1: 2.0, 8: 0.5, 64: 0.5}, "only at 1"),
        ({1: 2.0, 8: 2.0, 64: 1.0}, "only at 1, 8"),
        ({1: 0.5, 8: 1.0, 64: 0.5}, "never here"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_a_precision_begins_to_win_where_it_wins_from_there_on(
    make: Any, summary_of: Any, speeds: dict[int, float], begins: str
) -> None:
    summary = summary_of(*speed_ups(make, speeds))
    (row,) = make.table(summary, "begins to win at")
    assert [row[f"batch {size} [×] ↑"] for size in speeds] == [number(speed) for speed in speeds.values()]
    assert row["begins to win at"] == begins
    assert row["relative error [%] ↓"] == number(0.1 * max(speeds), 2)
    assert make.table(summary, "width 256")[0]["width 256"] == begins


def test_overlapping_intervals_are_no_win(make: Any, summary_of: Any) -> None:
    noisy = [0.001] * 15 + [0.002] * 15
    summary = summary_of(make.layer(seconds=noisy), make.layer(seconds=[0.0014] * 30, precision="int8"))
    row = make.table(summary, "begins to win at")[0]
    assert (row["batch 1 [×] ↑"], row["begins to win at"]) == ("1.07 (0.71 to 1.43)", "never here")
    few = summary_of(make.layer(seconds=[0.002]), make.layer(seconds=[0.001], precision="int8"))
    assert make.table(few, "begins to win at")[0]["begins to win at"] == "too few samples"


def test_kinds_and_modes_have_tables_and_widths_a_crossover(make: Any, summary_of: Any) -> None:
    conv = {"model": "conv3x3", "image_size": 16}
    summary = summary_of(
        *speed_ups(make, {1: 0.5, 8: 2.0}),
        *speed_ups(make, {1: 2.0, 8: 2.0}, width=1024),
        *speed_ups(make, {1: 0.5}, mode="compiled"),
        *speed_ups(make, {4: 2.0}, width=32, **conv),
    )
    headings = [line for line in summary.splitlines() if line.startswith("### ")]
    assert headings == ["### conv3x3 on 16x16, eager", "### linear, eager", "### linear, compiled"]
    eager, compiled = make.table(summary, "width 1024")
    assert (eager["mode"], eager["width 256"], eager["width 1024"]) == ("eager", "8", "1")
    assert (compiled["mode"], compiled["width 256"], compiled["width 1024"]) == ("compiled", "never here", "–")


def test_layers_without_a_partner_or_a_conversion_say_so(make: Any, summary_of: Any) -> None:
    alone = summary_of(make.layer(precision="int8"), make.layer(batch_size=8))
    assert make.table(alone, "width")[0] == {"precision": "int8", "width": "256"}
    hardly = summary_of(*speed_ups(make, {1: 2.0}, shares=(0.0, 0.0)))
    assert make.table(hardly, "begins to win at")[0]["begins to win at"] == "hardly converted"
    assert "Only fp32 was measured" in summary_of(make.layer())
    assert "## Single layers" not in summary_of(make.inference())


def test_smoke_layers_have_no_crossover(make: Any, summary_of: Any) -> None:
    summary = summary_of(*speed_ups(make, {1: 2.0}, budget="smoke"), budget="smoke")
    assert "begins to win at" in summary
    assert "Where each precision begins to win" not in summary


def test_each_kind_has_a_figure_that_goes_when_it_is_stale(make: Any, tmp_path: Path) -> None:
    outcomes = [
        *speed_ups(make, {1: 0.5, 8: 2.0}),
        *speed_ups(make, {1: 2.0}, width=1024, mode="compiled"),
        *speed_ups(make, {1: 2.0}, model="conv3x3", image_size=16),
    ]
    path = make.write(tmp_path / "run.json", outcomes)
    summary = render([path], tmp_path / "out").summary.read_text()
    figures = tmp_path / "out" / "figures"
    drawn = {file.name: file.read_bytes() for file in figures.glob("layers-*")}
    assert set(drawn) == {"layers-conv3x3.svg", "layers-linear.svg"}
    assert all(f"(figures/{name})" in summary for name in drawn)
    render([path], tmp_path / "again")
    assert all((tmp_path / "again" / "figures" / name).read_bytes() == svg for name, svg in drawn.items())
    render([make.write(tmp_path / "run.json", speed_ups(make, {1: 0.5}))], tmp_path / "out")
    assert [file.name for file in figures.glob("layers-*")] == ["layers-linear.svg"]


def test_layers_of_fp32_alone_have_no_figure(make: Any, tmp_path: Path) -> None:
    render([make.write(tmp_path / "run.json", [make.layer()])], tmp_path / "out")
    assert not list((tmp_path / "out" / "figures").glob("layers-*"))
