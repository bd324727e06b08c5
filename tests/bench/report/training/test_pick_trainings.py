"""A run of ladders says which way of training to pick."""

from __future__ import annotations

from typing import Any


def picks(summary: str) -> str:
    return summary.split("## What to pick")[1].split("\n## ")[0]


def rungs(learn: Any, rates: tuple[float, ...], seeds: int = 3, **changes: Any) -> list[Any]:
    """``rates`` of each place; seeds differ by less than a hundredth."""
    return [
        learn.rung(place, rate * (1 + 0.002 * ((seed + place) % 3)), seed=seed, **changes)
        for seed in range(seeds)
        for place, rate in enumerate(rates)
    ]


def test_ladders_are_told_with_their_gain(learn: Any, summary_of: Any) -> None:
    told = picks(summary_of(*rungs(learn, (100.0, 90.0, 200.0))))
    assert "Nothing" not in told
    assert "- **resnet14_cifar:** fastest is tensor pipeline (2.000 (1.983 to 2.017) " in told
    assert "times as fast as the notes' loop, 0 workers; 3 seeds)." in told
    assert "[each step of it](#training-made-faster)" in told


def test_a_gain_that_does_not_show_is_none(learn: Any, summary_of: Any) -> None:
    told = picks(summary_of(*rungs(learn, (100.0, 90.0, 100.2))))
    assert "- **resnet14_cifar:** no difference that shows; by the median " in told
    only = picks(summary_of(*rungs(learn, (100.0, 90.0))))
    assert "- **resnet14_cifar:** nothing trains faster than the notes' loop, 0 workers." in only


def test_smoke_ladders_pick_nothing(learn: Any, summary_of: Any) -> None:
    told = picks(summary_of(*rungs(learn, (100.0, 90.0, 200.0), budget="smoke"), budget="smoke"))
    assert "the smoke budget's figures mean nothing" in told
