from __future__ import annotations

from typing import Any


def test_a_line_has_the_parts_their_shares_and_the_limit(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(learn.step(3, (0.5, 4.0, 7.0, 1.0)), learn.step(0, (10.0, 5.0, 8.0, 2.0)))
    slow, fast = make.table(summary, "optimiser [ms] ↓ (share [%])")
    assert slow["settings"] == "the notes' loop, 0 workers"
    assert slow["images/s ↑"] == "2,560"  # 64 in 25 ms
    assert slow["loading [ms] ↓ (share [%])"] == "10.0 (40.0)"
    assert fast["settings"] == "tensor pipeline, channels last"
    assert fast["backward [ms] ↓ (share [%])"] == "7.00 (56.0)"
    assert fast["optimiser [ms] ↓ (share [%])"] == "1.00 (8.0)"
    assert fast["steady peak, process [MB] ↓"] == "12.0"
    assert len(fast) <= 9


def test_a_step_is_held_against_the_ceilings(make: Any, learn: Any, summary_of: Any) -> None:
    step = learn.step(0, (10.0, 5.0, 8.0, 2.0), figures={"flops_per_step": 1e9})  # 25 ms
    cells = make.table(summary_of(step, make.ceilings(1e9, float32=1e11)), "share of limit [%] ↑")[0]
    assert cells["share of limit [%] ↑"] == "40.0 (arithmetic)"
    assert "share of limit [%] ↑" not in make.table(summary_of(step), "optimiser [ms] ↓ (share [%])")[0]


def test_the_finding_tells_what_takes_most(learn: Any, summary_of: Any) -> None:
    summary = summary_of(learn.step(0, (10.0, 5.0, 8.0, 2.0)), learn.step(3, (0.5, 4.0, 7.0, 1.0)))
    assert (
        "**Of a step of cnn_small, loading takes most with the notes' loop, 0 workers: 40.0 %; backward takes most "
        "with tensor pipeline, channels last: 56.0 %, loading 4.0 %.**" in summary
    )
    smoke = summary_of(learn.step(0, (10.0, 5.0, 8.0, 2.0), budget="smoke"), budget="smoke")
    assert "Of a step of" not in smoke


def test_parts_have_their_interval(make: Any, learn: Any, summary_of: Any) -> None:
    series = {"loading_seconds": tuple(0.001 * count for count in range(1, 11))}
    row = learn.measurement(
        "training_step", (0.02,) * 10, series=series, items=64, model="cnn_small", pipeline="tensor"
    )
    cells = make.table(summary_of(row), "loading [ms] ↓ (share [%])")[0]
    # Of ten samples the second and the ninth bound the median; 55 of 200 ms are loading.
    assert cells["loading [ms] ↓ (share [%])"] == "5.5 ± 3.5 (27.5)"
    assert "forward [ms] ↓ (share [%])" not in cells


def test_each_network_has_a_table(make: Any, learn: Any, summary_of: Any) -> None:
    parts = (1.0, 2.0, 3.0, 0.5)
    summary = summary_of(learn.step(0, parts), learn.step(0, parts, model="cnn_vgg"))
    section = summary.split("## Where a training step goes")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("###")] == ["### cnn_small", "### cnn_vgg"]


def test_the_slowest_stands_first_whatever_its_name(make: Any, learn: Any, summary_of: Any) -> None:
    summary = summary_of(learn.step(0, (1.0, 1.0, 1.0, 1.0)), learn.step(2, (2.0, 2.0, 2.0, 2.0)))
    rows = make.table(summary, "optimiser [ms] ↓ (share [%])")
    assert [row["settings"] for row in rows] == ["tensor pipeline", "the notes' loop, 0 workers"]
