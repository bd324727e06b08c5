"""Sets: fresh processes of the routes of one subject, which take turns in rounds, so that their ratios are paired."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeGuard

from bench.core.amounts import Sampling
from bench.core.experiments import EXPERIMENTS, sampling_of
from bench.core.other_work import PATIENCE_SECONDS, OtherWork, needed_cores
from bench.core.records import Case, Measurement, Outcome
from bench.core.turns import is_twin, off_pace, reference_of
from bench.plan.plan import Requested
from bench.run.requests import Performed, Progress
from bench.run.seat import Open, Seat, result_of, seats_of

FEWEST_ROUNDS, LEAST_ROUNDS = 3, 5
"""Rounds of a set even where time is up, and before certainty counts. Fewer where a budget asks for fewer samples."""
MEMORY_SHARE = 0.6
"""Share of the memory that the processes of a set may hold together."""
ERROR_OF_MEDIAN = 1.4826 * math.sqrt(math.pi / 2)
"""Standard error of a median of normal values, of whose median absolute deviation over the root of their number."""
WAITING_SHARE = 0.1
"""Share of the time left for a case that its set may wait at once for other processes to pause."""
MEANS_NOTHING = 1.0
"""Relative error from which on a budget asks for no certainty, and so for no calm machine."""
MORE_SETS = 2
"""Sets that may follow those of the budget where some do not count."""
LAST_SECONDS = 15.0
"""Time left at which a run of minutes begins no further round or set."""

Request = Callable[[Case, int], dict[str, Any]]
"""The request to run a case in the set of a number."""


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """The cases of a run that are measured in sets."""

    asked: Sequence[Requested] = ()
    """Cases that a test is going to ask for, in the order of the tests."""
    count: int = 1
    close: float | None = None
    """See `Sets`."""
    spread: bool = False
    """True: sets after the first come when all cases have their first one, see `Engine.measure_further_sets`."""

    def beside(self, case: Case) -> list[Requested]:
        """Cases of the set of ``case``, itself among them; none if it takes no turns, or no test will ask for it."""
        if not EXPERIMENTS[case.experiment].takes_turns or all(one.id != case.id for one, _ in self.asked):
            return []
        subject = reference_of(case)
        return [pair for pair in self.asked if reference_of(pair[0]) == subject]


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The routes of one subject, and how they are measured together."""

    members: Sequence[Case]
    """Cases that were asked for."""
    count: int
    """Sets of fresh processes."""
    close: float | None
    """After the first set, routes that take longer than so many times the fastest one are left out; None keeps all."""
    memory_bytes: int | None
    """Memory that there is for the processes of a set; None is unknown, and then all are started."""
    request: Request
    open_worker: Open
    limit: Callable[[Case], float]
    progress: Progress
    others: OtherWork = field(default_factory=OtherWork)
    """Work of other processes, which is waited out between rounds."""

    def measure(self) -> dict[str, Performed]:
        """The result of each member, by the id of its case, after all sets."""
        series = Series(sets=self)
        while series.more:
            series.measure()
        return series.results()

    @property
    def most(self) -> int:
        """Most sets that may be measured."""
        return self.count + MORE_SETS if _has_to_be_certain(rule_of(self.members[0])) and self.count > 1 else self.count

    def out_of_time(self, first: float) -> bool:
        """True if the limit has fallen from ``first`` to little: a run of minutes ends, and no set or round begins."""
        return self.limit(self.members[0]) < min(first, LAST_SECONDS)

    def one(self, number: int, routes: Sequence[Case]) -> Iterable[Seat]:
        """Seats of ``routes`` after their turns, in as many groups as memory asks for, each with the reference."""
        reference = reference_of(self.members[0])
        waiting = sorted(routes, key=lambda case: case != reference)
        asked = reference in routes
        while waiting:
            group = _Group(sets=self, number=number, first_limit=self.limit(self.members[0]))
            try:
                waiting = group.seat([reference, *(case for case in waiting if case != reference)])
                group.take_rounds()
                group.finish()
            finally:
                group.leave()
            yield from (seat for seat in group.seats if seat.case != reference or asked)
            asked = False


@dataclass(kw_only=True)
class Series:
    """The sets of one subject that were measured so far."""

    sets: Sets
    seats: dict[str, list[Seat]] = field(default_factory=dict)
    """Seats of each member, by the id of its case, the first set first."""
    number: int = 0
    """Sets so far."""

    def __post_init__(self) -> None:
        self._first_limit = self.sets.limit(self.sets.members[0])

    @classmethod
    def resumed(cls, sets: Sets, outcomes: Sequence[Outcome]) -> Series:
        """The sets that an earlier run measured, by the outcomes of ``sets.members``."""
        found = {one.case.id: seats_of(one, partial(sets.limit, one.case)) for one in outcomes if _took_turns(one)}
        numbers = [seat.number for seats in found.values() for seat in seats]
        return cls(sets=sets, seats=found, number=1 + max(numbers, default=sets.most))

    @property
    def more(self) -> bool:
        """True if a further set is to be measured: those of the budget, some in place of others that do not count."""
        if self.number == 0:
            return True
        enough = self.number - len(self.apart) >= self.sets.count
        return not enough and self.number < self.sets.most and not self.sets.out_of_time(self._first_limit)

    @property
    def apart(self) -> frozenset[int]:
        """Numbers of the sets in which the machine had another pace than in those that count."""
        references: dict[int, list[float]] = {}
        for seat in (seat for taken in self.seats.values() for seat in taken):
            calls = [second for calls in seat.references.values() for second in calls]
            if len(calls) > len(references.get(seat.number, ())):
                references[seat.number] = calls
        return off_pace(references)

    def measure(self) -> None:
        """Measure the next set. An interrupted one leaves nothing."""
        seats = list(self.sets.one(self.number, self._routes()))
        for seat in seats:
            self.seats.setdefault(seat.case.id, []).append(seat)
        self.number += 1

    def results(self) -> dict[str, Performed]:
        """The result of each member, by the id of its case."""
        apart = self.apart
        return {case: result_of(seats, self.number, apart) for case, seats in self.seats.items()}

    def _routes(self) -> Sequence[Case]:
        """Routes of the next set: all in the first one, and in one that takes its place where it does not count.

        Else those that did not fail, the reference, its twin and the fast ones.
        """
        members = self.sets.members
        if self.number == 0:
            return members
        first = {case: self.seats[case.id][0] for case in members if case.id in self.seats}
        typical = {case: seat.typical for case, seat in first.items() if not seat.failed and seat.rounds}
        again = self.number >= self.sets.count and 0 in self.apart
        if self.sets.close is None or again or not typical:
            return list(typical)
        limit = self.sets.close * min(typical.values())
        reference = reference_of(members[0])
        return [
            case
            for case, seconds in typical.items()
            if seconds <= limit or reference_of(case) == case == reference or is_twin(case)
        ]


@dataclass(kw_only=True)
class _Group:
    """Processes that take turns with one another: a set, or as much of it as memory holds."""

    sets: Sets
    number: int
    first_limit: float
    seats: list[Seat] = field(default_factory=list)
    calm: int = 0
    """Rounds beside which nothing else was at work."""
    waited: float = 0.0
    """Seconds of waiting for others between rounds."""

    def seat(self, routes: Sequence[Case]) -> list[Case]:
        """Prepare ``routes`` one after another while the next one is expected to fit. Returns the others.

        Two at once take no less time on two cores. A process is expected to hold as much as the largest one so far. The
        reference and one more are always tried.
        """
        for place, case in enumerate(routes):
            if place > 1 and not self._fits_one_more():
                return list(routes[place:])
            seat = Seat(case=case, number=self.number, limit=partial(self.sets.limit, case))
            self.seats.append(seat)
            self.sets.progress(f"{self._name(case)}: preparing {place + 1} of {len(routes)}")
            seat.prepare(self.sets.open_worker, self.sets.request(case, self.number), self.sets.progress)
        return []

    def take_rounds(self) -> None:
        """Rounds in shuffled order until the ratios are certain enough or time is up."""
        rule = rule_of(self.seats[0].case)
        order = random.Random(f"{self.seats[0].case.id} {self.number}")
        watched = _has_to_be_certain(rule)
        begin = time.monotonic()
        number = 0
        self.sets.others.look(needed_cores(self.seats[0].case))
        while any(seat.playing for seat in self.seats):
            if self._over(rule, number, time.monotonic() - begin - self.waited):
                break
            playing = [seat for seat in self.seats if seat.playing]
            order.shuffle(playing)
            looks = []
            for seat in playing:
                seat.turn(number)
                if watched and (seat is playing[-1] or self.sets.others.due):
                    looks.append(self._undisturbed())
            self.calm += all(looks)
            reference = self.seats[0].rounds.get(number)
            for seat in playing:
                if reference is not None and number in seat.rounds:
                    seat.references[number] = reference["seconds"]
            number += 1
            self.sets.progress(f"{self._name(self.seats[0].case)}: round {number}")

    def _undisturbed(self) -> bool:
        """True if nothing else was at work since the last look. Where it was, waits until it pauses."""
        if not self.sets.others.look(needed_cores(self.seats[0].case)):
            return True
        if self._may_wait:
            self.sets.progress(f"{self._name(self.seats[0].case)}: waiting for other processes to pause")
            most = WAITING_SHARE * self.sets.limit(self.seats[0].case)
            self.waited += self.sets.others.wait(
                min(most, 2 * PATIENCE_SECONDS - self.waited), needed_cores(self.seats[0].case)
            )
        return False

    def finish(self) -> None:
        """Other passes of each process, one at a time and the reference first: all of them in the first set."""
        for seat in self.seats:
            if seat.alive and self.number == 0:
                self.sets.progress(f"{self._name(seat.case)}: {seat.case.precision} {seat.case.mode}, other passes")
                seat.finish(certain=self._certain(rule_of(seat.case)))
            elif seat.alive:
                seat.weigh()
            seat.leave()

    def leave(self) -> None:
        """End all processes."""
        for seat in self.seats:
            seat.leave()

    def _over(self, rule: Sampling | None, number: int, passed: float) -> bool:
        if rule is None or number < min(FEWEST_ROUNDS, rule.min_samples):
            return False
        if self.sets.out_of_time(self.first_limit):
            return True
        share = sum(seat.playing for seat in self.seats) / self.sets.count
        calm = self.calm >= FEWEST_ROUNDS or not self._may_wait or not _has_to_be_certain(rule)
        if passed >= rule.max_seconds * share * (1 if calm else 2):
            return True
        if number < min(LEAST_ROUNDS, rule.min_samples) or not calm:
            return False
        return passed >= rule.min_seconds * share and self._enough(rule) and self._certain(rule)

    @property
    def _may_wait(self) -> bool:
        """True while others may be waited for: in vain so far, or for long already, it is over."""
        return self.sets.others.patient and self.waited < 2 * PATIENCE_SECONDS

    def _enough(self, rule: Sampling) -> bool:
        least = math.ceil(rule.min_samples / self.sets.count)
        return all(
            sum(len(taken["seconds"]) for taken in seat.rounds.values()) >= least for seat in self.seats if seat.playing
        )

    def _certain(self, rule: Sampling | None) -> bool:
        """True if every ratio, or without another route every median, has a small enough standard error; or if the work
        was fixed."""
        if rule is None:
            return True
        reference, *others = self.seats
        playing = [seat for seat in others if seat.references]
        if not playing:
            return _error([reference.median(number) or math.nan for number in reference.rounds]) <= rule.relative_error
        return all(_error(_ratios(seat)) <= rule.relative_error for seat in playing)

    def _fits_one_more(self) -> bool:
        held = [seat.held_bytes for seat in self.seats if seat.alive]
        memory = self.sets.memory_bytes
        return memory is None or sum(held) + max(held, default=0) <= MEMORY_SHARE * memory

    def _name(self, case: Case) -> str:
        count = max(self.sets.count, self.number + 1)
        return f"{case.experiment} {case.model} b{case.batch_size}, set {self.number + 1} of {count}"


def _has_to_be_certain(rule: Sampling | None) -> bool:
    return rule is not None and rule.relative_error < MEANS_NOTHING


def _took_turns(outcome: Outcome) -> TypeGuard[Measurement]:
    return isinstance(outcome, Measurement) and bool(outcome.turns)


def rule_of(case: Case) -> Sampling | None:
    """The stopping rule of the set of ``case``; None where its work is fixed."""
    return sampling_of(case) if EXPERIMENTS[case.experiment].sampling else None


def _ratios(seat: Seat) -> list[float]:
    return [statistics.median(calls) / (seat.median(number) or math.nan) for number, calls in seat.references.items()]


def _error(values: Sequence[float]) -> float:
    """Standard error of the median over the median; infinite for fewer than two values."""
    if len(values) < 2:
        return math.inf
    middle = statistics.median(values)
    deviation = statistics.median(abs(value - middle) for value in values)
    return ERROR_OF_MEDIAN * deviation / math.sqrt(len(values)) / middle
