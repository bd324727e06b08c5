"""Which rows nothing beats, and what is picked of those that cannot be told apart."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report.frame import rows_of, tidy
from bench.report.front import by_latency, ladder, outermost, round_limit

RIGHT = tuple(range(10))
ONE_WRONG = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
ALL_BUT_ONE_WRONG = (1, 2, 3, 4, 5, 6, 7, 8, 8, 9)
FOUR_WRONG = (1, 2, 3, 4, 4, 5, 6, 7, 8, 9)


def rows(run: Any) -> dict[str, Any]:
    return {f"{row['model']} {row['precision']} {row['mode']}": row for row in rows_of(tidy([run]), "inference")}


def front(run: Any) -> list[str]:
    found = rows(run)
    return [name for row in outermost(list(found.values())) for name, other in found.items() if other is row]


def at(make: Any, milliseconds: float, accuracy: float | None = None, **changes: Any) -> Any:
    return make.inference([milliseconds / 1e3] * 30, accuracy, **changes)


@pytest.mark.parametrize(("accuracy", "names"), [(0.712, ["a"]), (0.714, ["a", "b"])])
def test_the_front_goes_on_where_accuracy_is_surely_higher(
    make: Any, run_of: Any, accuracy: float, names: list[str]
) -> None:
    """Two errors of 0.46 points each: 2 * sqrt(2) * 0.46 = 1.29 points."""
    found = front(run_of(at(make, 1.0, 0.7, model="a"), at(make, 2.0, accuracy, model="b")))
    assert found == [f"{name} fp32 eager" for name in names]


def test_rows_of_the_same_weights_are_paired(make: Any, run_of: Any) -> None:
    """Three of ten images gained: 2 * sqrt(3 - 0.9) / 10 = 0.29 paired, 2 * sqrt(0.024 + 0.009) = 0.36 independent."""
    fast = {"labels": FOUR_WRONG, "precision": "int8"}
    same = run_of(at(make, 1.0, **fast), at(make, 2.0, labels=ONE_WRONG))
    assert front(same) == ["cnn_small int8 eager", "cnn_small fp32 eager"]
    other = run_of(at(make, 1.0, artefact="a.pt", **fast), at(make, 2.0, labels=ONE_WRONG, artefact="b.pt"))
    assert front(other) == ["cnn_small int8 eager"]


def test_networks_are_not_held_against_the_fp32_of_each(make: Any, run_of: Any) -> None:
    run = run_of(at(make, 1.0, labels=ALL_BUT_ONE_WRONG, model="a"), at(make, 2.0, labels=ONE_WRONG, model="b"))
    assert front(run) == ["a fp32 eager", "b fp32 eager"]


def test_a_gain_that_pairing_does_not_show_is_not_on_the_front(make: Any, run_of: Any) -> None:
    assert front(run_of(at(make, 1.0, labels=ONE_WRONG, precision="int8"), at(make, 2.0, labels=RIGHT))) == [
        "cnn_small int8 eager"
    ]


def test_of_rows_level_in_speed_the_smallest_is_picked_and_of_equal_ones_the_eager_one(make: Any, run_of: Any) -> None:
    found = rows(
        run_of(
            at(make, 1.0, 0.7, mode="compiled"),
            at(make, 1.05, 0.7),
            at(make, 3.0, 0.7, precision="int8", weight_bytes=50_000, mode="compiled"),
            at(make, 3.1, 0.7, precision="nf4", weight_bytes=20_000),
        )
    )
    first, second = ladder([by_latency(row) for row in found.values()])
    assert (first.pick.row["mode"], first.fastest.row["mode"], first.others) == ("eager", "compiled", ())
    assert (second.pick.row["precision"], second.fastest.row["precision"]) == ("nf4", "int8")


@pytest.mark.parametrize(("size", "limit"), [(6e6, 1e7), (1e6, 2e6), (2.1e6, 5e6), (5e6, 1e7), (27_600, 50_000)])
def test_limits_are_round_and_above_the_size(size: float, limit: float) -> None:
    assert round_limit(size) == limit
