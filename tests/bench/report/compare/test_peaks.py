from __future__ import annotations

from typing import Any

import pytest

from bench.core.records import Peak
from bench.report.compare.thresholds import PEAKS
from bench.report.rows import PEAKS as COLUMNS

MB = 1_000_000


def side(make: Any, *sizes: int, kind: Any = "rss") -> list[Any]:
    return [
        make.inference(repeat=repeat, peaks=(Peak(phase="steady", kind=kind, bytes=size),))
        for repeat, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("kind", "old", "new", "outcome"),
    [
        ("rss", 100 * MB, 111 * MB, "worse"),
        ("rss", 100 * MB, 109 * MB, "same"),
        ("rss", 111 * MB, 100 * MB, "better"),
        ("rss", 1 * MB, 2 * MB, "same"),  # the grain of such a peak
        ("cuda_allocated", 100 * MB, 103 * MB, "worse"),
        ("cuda_reserved", 100 * MB, 103 * MB, "same"),
    ],
)
def test_peaks_have_thresholds(make: Any, compared: Any, kind: str, old: int, new: int, outcome: str) -> None:
    comparison = compared(side(make, old, kind=kind), side(make, new, kind=kind))
    assert [item.outcome for item in comparison.peaks] == [outcome]
    assert comparison.status == (outcome == "worse")


def test_more_processes_make_no_higher_peak(make: Any, compared: Any) -> None:
    comparison = compared(side(make, 100 * MB), side(make, *[100 * MB] * 8, 200 * MB))
    assert [item.outcome for item in comparison.peaks] == ["same"]


def test_what_stays_after_loading_is_compared(make: Any, compared: Any) -> None:
    old, new = (make.load_of(figures={"resident_bytes": size}) for size in (600e6, 700e6))
    comparison = compared([old], [new])
    assert {item.name: item.outcome for item in comparison.peaks} == {
        "load peak, rss": "same",
        "memory kept after loading": "worse",
    }


def test_every_kind_of_peak_has_a_threshold() -> None:
    assert {kind for _, kind, _ in COLUMNS} < set(PEAKS)
