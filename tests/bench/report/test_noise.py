"""The noise floor, from pairs whose processes are known; and what it does to verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report.frame import rows_of, tidy
from bench.report.noise import noises
from bench.report.rows import SPEED, side_of_one

A, B = (1.0, 1.1, 1.2, 1.0, 1.1, 1.2), (1.0, 1.0, 1.0, 1.1, 1.1, 1.25)
"""Milliseconds of each process."""


def pair(make: Any, ours: Any = A, theirs: Any = B, **changes: Any) -> list[Any]:
    sides = (("A", ours), ("B", theirs))
    return [
        make.noise(side, value, repeat=repeat, **changes)
        for side, values in sides
        for repeat, value in enumerate(values)
    ]


def test_a_pair_is_told_by_its_processes(make: Any, run_of: Any) -> None:
    (found,) = noises(rows_of(tidy([run_of(*pair(make))]), "noise"))
    assert found.processes == 6
    assert found.ratio.value == pytest.approx(1.1 / 1.05)
    assert found.ratio.interval is not None
    assert (found.ratio.interval.low, found.ratio.interval.high) == (pytest.approx(1.0 / 1.25), pytest.approx(1.2))
    assert found.floor == pytest.approx(0.25)  # a process of A with 1.0 beside one of B with 1.25
    assert found.spread == pytest.approx(0.0834, abs=0.001)


def test_batch_sizes_are_pairs_of_their_own(make: Any, run_of: Any) -> None:
    both = [*pair(make, batch_size=1), *pair(make, (1.0,), (1.5,), batch_size=32)]
    floors = {found.first["batch size"]: found.floor for found in noises(rows_of(tidy([run_of(*both)]), "noise"))}
    assert floors == {1: pytest.approx(0.25), 32: pytest.approx(0.5)}


def test_a_letter_alone_is_no_pair(make: Any, run_of: Any) -> None:
    assert noises(rows_of(tidy([run_of(make.noise("A", 1.0))]), "noise")) == []


def test_rows_that_one_process_measured_have_to_be_beyond_the_floor(make: Any, run_of: Any) -> None:
    """20 % faster shows beside the usual 10 %, and not where the same thing differs by 25 % from itself."""
    rows = [make.inference((0.012,) * 30), make.inference((0.010,) * 30, precision="bf16")]
    sides = []
    for outcomes in (rows, [*rows, *pair(make)]):
        half = next(row for row in rows_of(tidy([run_of(*outcomes)]), "inference") if row["precision"] == "bf16")
        sides.append(side_of_one(half, SPEED))
    assert sides == ["above", "across"]


def test_the_report_says_it_before_the_method(make: Any, summary_of: Any) -> None:
    summary = summary_of(make.inference(), *pair(make))
    assert summary.index("## Failures") < summary.index("## Noise floor") < summary.index("## How it was measured")
    assert "A takes 1.048 (0.800 to 1.200) times as long as B, over 6 processes each" in summary
    assert "Differences below 25 % between rows that one process measured each are noise here" in summary


def test_a_floor_beyond_a_doubling_is_a_factor(make: Any, summary_of: Any) -> None:
    assert "Differences below a factor of 3.0" in summary_of(make.inference(), *pair(make, (1.0,), (3.0,)))


def test_runs_of_earlier_versions_have_no_such_section(make: Any, summary_of: Any) -> None:
    assert "## Noise floor" not in summary_of(make.inference())
