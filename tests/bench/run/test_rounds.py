"""Rounds of a set go on, for a while, until some had no other work beside them. No worker is needed for that."""

from __future__ import annotations

import pytest

from bench.core.other_work import OtherWork
from bench.core.records import Case
from bench.run import turns
from bench.run.process import Worker
from bench.run.seat import Seat
from bench.run.turns import Sets, _Group

TURN = 0.1
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


def rounds(monkeypatch: pytest.MonkeyPatch, case: Case, looks: float, *, patient: bool = True) -> tuple[int, int]:
    """Rounds of a set of two routes, and waits between them."""
    clock = [0.0]
    monkeypatch.setattr(turns.time, "monotonic", lambda: clock[0])
    burst = Burst(looks, clock)
    burst.patient = patient  # type: ignore[misc]

    def none(*arguments: object) -> Worker:
        raise AssertionError

    sets = Sets(
        members=[case],
        count=1,
        close=None,
        memory_bytes=None,
        request=lambda case, number: {},
        open_worker=none,
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
    case = Case(**{**vars(CASE), "budget": "smoke"})
    assert rounds(monkeypatch, case, 99) == (3, 0)
