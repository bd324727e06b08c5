"""Peaks of memory: judged by threshold, grain and spread over processes."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.records import Peak

MB = 1_000_000


def side(make: Any, *sizes: int, kind: Any = "rss") -> list[Any]:
    return [
        make.inference(repeat=repeat, peaks=(Peak(phase="steady", kind=kind, bytes=size),))
        for repeat, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("kind", "old", "new", "outcome"),
    [
        ("rss", (100 * MB, 100 * MB), (111 * MB, 111 * MB), "worse"),
        ("rss", (100 * MB, 100 * MB), (109 * MB, 109 * MB), "same"),
        ("rss", (111 * MB, 111 * MB), (100 * MB, 99 * MB), "better"),
        ("rss", (1 * MB, 1 * MB), (2 * MB, 2 * MB), "same"),  # the grain of such a peak
        ("rss", (100 * MB, 130 * MB), (140 * MB, 140 * MB), "no clear difference"),  # less than its own spread
        ("rss", (100 * MB,), (200 * MB,), "cannot tell"),  # steps of the allocator
        ("cuda_allocated", (100 * MB,), (103 * MB,), "worse"),
        ("torch_allocated", (10_494_976,), (10_800_000,), "worse"),  # the same in every process
        ("cuda_reserved", (100 * MB,), (103 * MB,), "same"),
    ],
)
def test_peaks_go_by_threshold_and_spread(
    make: Any, compared: Any, kind: str, old: tuple[int, ...], new: tuple[int, ...], outcome: str
) -> None:
    comparison = compared(side(make, *old, kind=kind), side(make, *new, kind=kind))
    assert [item.outcome for item in comparison.peaks] == [outcome]
    assert comparison.status == (outcome == "worse")


def test_of_torch_the_account_of_its_allocator_is_judged_alone(make: Any, compared: Any) -> None:
    def rows(resident: int, allocated: int) -> list[Any]:
        kinds: dict[Any, int] = {"rss": resident, "torch_allocated": allocated}
        peaks = tuple(Peak(phase="steady", kind=kind, bytes=size) for kind, size in kinds.items())
        return [make.inference(repeat=repeat, peaks=peaks) for repeat in range(3)]

    comparison = compared(rows(43 * MB, 10 * MB), rows(75 * MB, 10 * MB))
    assert [(item.name, item.outcome) for item in comparison.peaks] == [("steady peak, torch allocated", "same")]


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
