"""Rounds go on until some had no other work beside them, and sets until some were not slow. No worker is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bench.core.other_work import OtherWork
from bench.core.records import Case, Measurement, to_json
from bench.run import turns
from bench.run.process import Worker
from bench.run.requests import Performed
from bench.run.seat import Seat
from bench.run.turns import Sets, _Group

TURN = 0.1
NO_DEVICE = {"device_seconds": None, "last": False, "idle_seconds": 0.0, "idle_cpu_seconds": 0.0}
CASE = Case(
    experiment="inference",
    model="cnn_small",
    dataset="mnist5k",
    image_size=32,
    device="cpu",
    threads=1,
    budget="quick",
    batch_size=1,
    options=(("max_seconds", 0.29), ("min_samples", 1000)),
)
"""Time is up after three rounds of two routes, and samples are never enough."""


class Route(Seat):
    """Takes its turns on a clock of its own."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__(case=CASE, number=0, limit=lambda: 60.0)
        self.clock = clock

    playing = True  # type: ignore[assignment]

    def turn(self, number: int) -> None:
        self.clock[0] += TURN
        self.rounds[number] = {"seconds": [TURN], "last": False}


class Burst(OtherWork):
    """Other work at so many looks after the first one, whatever is waited for."""

    patient = True  # type: ignore[assignment]
    due = False  # type: ignore[assignment]

    def __init__(self, looks: float, clock: list[float]) -> None:
        self.left, self.waits, self.clock = looks + 1, 0, clock

    def look(self, needed: int) -> bool:
        self.left -= 1
        return self.left >= 0

    def wait(self, most: float, needed: int) -> float:
        self.waits += 1
        self.clock[0] += min(most, 5.0)
        return min(most, 5.0)


def no_worker(*arguments: object) -> Worker:
    raise AssertionError


def rounds(monkeypatch: pytest.MonkeyPatch, case: Case, looks: float, *, patient: bool = True) -> tuple[int, int]:
    """Rounds of a set of two routes, and waits between them."""
    clock = [0.0]
    monkeypatch.setattr(turns.time, "monotonic", lambda: clock[0])
    burst = Burst(looks, clock)
    burst.patient = patient  # type: ignore[misc]

    sets = Sets(
        members=[case],
        count=1,
        close=None,
        memory_bytes=None,
        request=lambda case, number: {},
        open_worker=no_worker,
        limit=lambda case: 60.0,
        progress=lambda line: None,
        others=burst,
    )
    group = _Group(sets=sets, number=0, first_limit=60.0, seats=[Route(clock), Route(clock)])
    for seat in group.seats:
        seat.case = case
    group.take_rounds()
    return len(group.seats[0].rounds), burst.waits


@pytest.mark.parametrize(("looks", "expected"), [(0, (3, 0)), (1, (4, 1)), (2, (5, 2)), (3, (6, 3)), (99, (6, 6))])
def test_three_rounds_are_calm_or_twice_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, looks: int, expected: tuple[int, int]
) -> None:
    """Waiting takes none of the time of the rounds."""
    assert rounds(monkeypatch, CASE, looks) == expected


def test_without_patience_time_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds(monkeypatch, CASE, 99, patient=False) == (3, 0)


def test_a_budget_that_asks_for_no_certainty_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(CASE, budget="smoke")
    assert rounds(monkeypatch, case, 99) == (3, 0)


def sets_of(
    monkeypatch: pytest.MonkeyPatch, paces: Sequence[float], budget: str = "quick"
) -> tuple[dict[str, Performed], list[Any]]:
    """Result of each precision where the reference takes so long in each set, and the routes of each set."""
    reference, near, far = (replace(CASE, budget=budget, precision=precision) for precision in ("fp32", "bf16", "nf4"))
    times = {"fp32": 1.0, "bf16": 0.5, "nf4": 2.0}
    begun: list[Any] = []

    def measured_set(self: Sets, number: int, routes: Sequence[Case]) -> list[Seat]:
        begun.append([case.precision for case in routes])
        seats = [Seat(case=case, number=number, limit=lambda: 60.0) for case in routes]
        for seat in seats:
            seat.rounds[0] = {"seconds": [times[seat.case.precision] * paces[number]], **NO_DEVICE}
            seat.references[0] = [paces[number]]
            seat.reply = {"answer": to_json(Measurement(case=seat.case, seconds=(1.0,))), "spent": []}
        return seats

    monkeypatch.setattr(Sets, "one", measured_set)
    sets = Sets(
        members=[reference, near, far],
        count=3,
        close=1.5,
        memory_bytes=None,
        request=lambda case, number: {},
        open_worker=no_worker,
        limit=lambda case: 60.0,
        progress=lambda line: None,
    )
    found = sets.measure()
    return {case.precision: found[case.id] for case in (reference, near, far)}, begun


def counting(result: Performed) -> dict[int, bool | None]:
    """Whether each set counts by the row."""
    assert isinstance(result.outcome, Measurement)
    return {turn.set: turn.counts for turn in result.outcome.turns}


APART = "the machine had another pace, left out of the ratio"


@pytest.mark.parametrize(
    ("paces", "sets", "notes"),
    [
        ([1.0, 1.2, 1.0], 3, []),
        ([1.0, 1.7, 1.0, 1.0], 4, [f"set 2: {APART}"]),
        ([1.0, 1.7, 1.7, 1.0, 1.7], 5, [f"set 2, 3, 5: {APART}"]),
        ([1.0, 1.4, 1.9, 2.6, 3.5], 5, [f"set 2, 3, 4, 5: {APART}"]),
    ],
)
def test_further_sets_take_the_place_of_those_that_do_not_count(
    monkeypatch: pytest.MonkeyPatch, paces: list[float], sets: int, notes: list[str]
) -> None:
    results, begun = sets_of(monkeypatch, paces)
    assert len(begun) == sets
    assert begun[:2] == [["fp32", "bf16", "nf4"], ["fp32", "bf16"]]
    outcome = results["bf16"].outcome
    assert isinstance(outcome, Measurement)
    assert list(outcome.notes) == notes
    left_out = {number for number in range(sets) if notes and str(number + 1) in notes[0]}
    assert counting(results["bf16"]) == {number: number not in left_out for number in range(sets)}


@pytest.mark.parametrize("paces", [[1.7, 1.0, 1.0, 1.0], [1.0, 1.7, 1.7, 1.7]])
def test_all_routes_come_again_where_the_first_set_does_not_count(
    monkeypatch: pytest.MonkeyPatch, paces: list[float]
) -> None:
    """One quick set of four has no interval: the pace of the other three counts, for a route of two sets as well."""
    results, begun = sets_of(monkeypatch, paces)
    assert [list(cast("Measurement", result.outcome).notes)[-1] for result in results.values()] == [
        f"set 1: {APART}"
    ] * 3
    assert counting(results["nf4"]) == {0: False, 3: True}
    assert counting(results["bf16"]) == {0: False, 1: True, 2: True, 3: True}
    assert begun == [["fp32", "bf16", "nf4"], ["fp32", "bf16"], ["fp32", "bf16"], ["fp32", "bf16", "nf4"]]


def test_a_budget_that_asks_for_no_certainty_has_no_further_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(sets_of(monkeypatch, [1.0, 1.7, 1.7, 1.0, 1.0], budget="smoke")[1]) == 3
