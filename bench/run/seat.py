"""A route in one set: the worker that takes its turns, and the row that its turns in all sets become."""

from __future__ import annotations

import dataclasses
import re
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.core.records import Case, Figure, Measurement, Peak, Turn, from_json, to_json
from bench.run.process import Worker
from bench.run.requests import Performed, Progress, performed

IDLE_CORES = 0.2
"""A process that keeps more cores busy while it waits disturbs the turns of the others, and its row has a note."""

OF_SETS = re.compile(r"in \d+ of \d+ sets: |set [\d, ]+: |timed only while |kept [\d.]+ cores busy ")
"""Beginnings of the notes that `result_of` adds."""

Open = Callable[[dict[str, Any], Progress], Worker]


@dataclass(kw_only=True)
class Seat:
    """A route in one set: its process, and the turns that it took there."""

    case: Case
    number: int
    """Number of the set, from 0."""
    limit: Callable[[], float]
    """Seconds for each message of the worker: to prepare, for a turn, for the passes after the rounds."""
    worker: Worker | None = None
    reply: Mapping[str, Any] | None = None
    """Last message of the worker; None while it takes turns."""
    held_bytes: int = 0
    rounds: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """Message that it sent after each turn, by round."""
    references: dict[int, Sequence[float]] = field(default_factory=dict)
    """Seconds of the reference's calls, by round."""
    peaks: Sequence[Peak] = ()
    """Memory peaks of a warm step, in sets after the first."""
    seconds: float = 0.0
    """Time that was spent on it alone."""
    idle_seconds: float = 0.0
    idle_cpu_seconds: float = 0.0

    def prepare(self, open_worker: Open, request: dict[str, Any], progress: Progress) -> None:
        """Start its process and wait until it is ready for turns, or has failed."""
        begin = time.monotonic()
        try:
            self.worker = open_worker({**request, "turns": True}, progress)
        except (OSError, EOFError) as error:
            message = f"no worker could be started ({type(error).__name__}: {error})"
            self.reply = {"failure": {"kind": "crashed", "message": message}}
        else:
            ready = self._receive("ready")
            self.held_bytes = int(ready["held_bytes"]) if ready else 0
        self.seconds += time.monotonic() - begin

    def turn(self, number: int) -> None:
        """Let it take its turn in the round ``number``."""
        assert self.worker is not None
        begin = time.monotonic()
        self.worker.send(("turn", self.limit(), False))
        taken = self._receive("turn")
        if taken:
            self.rounds[number] = taken
            self.idle_seconds += taken["idle_seconds"]
            self.idle_cpu_seconds += taken["idle_cpu_seconds"]
        self.seconds += time.monotonic() - begin

    def finish(self, *, certain: bool) -> None:
        """Let it go through its other passes, and take its reply."""
        assert self.worker is not None
        begin = time.monotonic()
        self.worker.send(("finish", self.limit(), certain))
        self._receive("reply")
        self.seconds += time.monotonic() - begin

    def weigh(self) -> None:
        """Let it take its peaks of memory, the one other pass of the sets after the first."""
        assert self.worker is not None
        begin = time.monotonic()
        self.worker.send(("peaks", self.limit(), False))
        taken = self._receive("peaks")
        self.peaks = [from_json(Peak, peak) for peak in taken["peaks"]] if taken else []
        self.seconds += time.monotonic() - begin

    def leave(self) -> None:
        """End its process."""
        if self.worker:
            self.worker.end()
            self.worker = None

    @property
    def alive(self) -> bool:
        """True if its process waits for a turn, or for its other passes."""
        return self.worker is not None and self.reply is None

    @property
    def playing(self) -> bool:
        """True if it takes part in the next round."""
        return self.alive and not any(taken["last"] for taken in self.rounds.values())

    @property
    def failed(self) -> bool:
        """True if its process ended with a failure."""
        return self.reply is not None and "failure" in self.reply

    @property
    def typical(self) -> float:
        """Median seconds of a call in all rounds."""
        return float(statistics.median(second for taken in self.rounds.values() for second in taken["seconds"]))

    def median(self, number: int) -> float | None:
        """Median seconds of a call in one round; None if it took no turn."""
        taken = self.rounds.get(number)
        return float(statistics.median(taken["seconds"])) if taken else None

    def _receive(self, expected: str) -> Mapping[str, Any] | None:
        assert self.worker is not None
        kind, content = self.worker.receive(self.limit())
        if kind == "reply":
            self.reply = content
            self.leave()
        return content if kind == expected else None


def seats_of(measurement: Measurement, limit: Callable[[], float]) -> list[Seat]:
    """Seats whose `result_of` is ``measurement``: of an earlier run, whose workers are gone."""
    by_set = {
        peak: [int(size) for size in measurement.series.get(_series_of(peak), (peak.bytes,))]
        for peak in measurement.peaks
    }
    first = dataclasses.replace(
        measurement,
        notes=tuple(note for note in measurement.notes if not OF_SETS.match(note)),
        peaks=tuple(dataclasses.replace(peak, bytes=sizes[0]) for peak, sizes in by_set.items()),
    )
    reply = {"answer": to_json(first), "spent": []}
    seats: dict[int, Seat] = {}
    begin = 0
    for turn in measurement.turns:
        seat = seats.setdefault(turn.set, Seat(case=measurement.case, number=turn.set, limit=limit))
        place = slice(begin, begin + turn.samples)
        begin += turn.samples
        seat.rounds[turn.round] = {
            "seconds": measurement.seconds[place],
            "device_seconds": measurement.device_seconds and measurement.device_seconds[place],
            "last": False,
            "idle_seconds": 0.0,
            "idle_cpu_seconds": 0.0,
        }
        if turn.reference_calls:
            seat.references[turn.round] = turn.reference_calls
    found = [seats[number] for number in sorted(seats)]
    for index, seat in enumerate(found):
        seat.reply = None if index else reply
        later = {peak: sizes[index] for peak, sizes in by_set.items() if 0 < index < len(sizes)}
        seat.peaks = [dataclasses.replace(peak, bytes=size) for peak, size in later.items()]
    return found


def result_of(seats: Sequence[Seat], count: int, apart: Collection[int] = ()) -> Performed:
    """Result of a case from its seat in each set: the first one's passes, and the turns of all.

    Args:
        count: sets that were begun.
        apart: numbers of those in which the machine had another pace than in those that count.
    """
    first, *later = seats
    assert first.reply is not None
    found = performed(first.case, first.reply, sum(seat.seconds for seat in seats))
    if not isinstance(found.outcome, Measurement) or not first.rounds:
        return found
    return dataclasses.replace(found, outcome=_with_turns(found.outcome, [first, *later], count, apart))


def _with_turns(measurement: Measurement, seats: Sequence[Seat], count: int, apart: Collection[int]) -> Measurement:
    taken = [(seat, number, one) for seat in seats for number, one in seat.rounds.items()]
    on_device = [second for _, _, one in taken for second in one["device_seconds"] or ()]
    waited = sum(seat.idle_seconds for seat in seats)
    idle = sum(seat.idle_cpu_seconds for seat in seats) / waited if waited else 0.0
    return dataclasses.replace(
        measurement,
        seconds=tuple(second for _, _, one in taken for second in one["seconds"]),
        device_seconds=tuple(on_device) or None,
        turns=tuple(
            Turn(
                set=seat.number,
                round=number,
                samples=len(one["seconds"]),
                reference_seconds=statistics.median(calls) if (calls := seat.references.get(number)) else None,
                reference_calls=tuple(calls or ()),
                counts=seat.number not in apart,
            )
            for seat, number, one in taken
        ),
        peaks=tuple(dataclasses.replace(peak, bytes=_typical_bytes(peak, seats)) for peak in measurement.peaks),
        series={**measurement.series, **_peaks_by_set(measurement, seats)},
        figures={**measurement.figures, "cores_while_waiting": Figure(value=idle, unit="cores", better="lower")},
        notes=(*measurement.notes, *_notes(seats, count, idle), *_pace_notes(seats, apart)),
    )


def _by_set(peak: Peak, seats: Sequence[Seat]) -> list[int]:
    """Bytes of the first set, and of the same peak in later ones."""
    later = [one.bytes for seat in seats for one in seat.peaks if (one.phase, one.kind) == (peak.phase, peak.kind)]
    return [peak.bytes, *later]


def _typical_bytes(peak: Peak, seats: Sequence[Seat]) -> int:
    return round(statistics.median(_by_set(peak, seats)))


def _series_of(peak: Peak) -> str:
    return f"{peak.phase}_{peak.kind}_bytes"


def _peaks_by_set(measurement: Measurement, seats: Sequence[Seat]) -> dict[str, tuple[float, ...]]:
    """Series of peaks that several sets took: how far they spread."""
    values = {_series_of(peak): _by_set(peak, seats) for peak in measurement.peaks}
    return {name: tuple(map(float, sizes)) for name, sizes in values.items() if len(sizes) > 1}


def _notes(seats: Sequence[Seat], count: int, idle: float) -> list[str]:
    """Sets that this route was left out of or failed in, and cores that it kept busy while others had their turns."""
    notes = [
        f"set {seat.number + 1}: {seat.reply['failure']['kind']}, {seat.reply['failure']['message']}"
        for seat in seats
        if seat.reply is not None and seat.failed
    ]
    if len(seats) < count and not notes:
        notes.append(f"in {len(seats)} of {count} sets: much slower than the fastest route")
    if idle > IDLE_CORES:
        notes.append(f"kept {idle:.2f} cores busy while it waited for its turns")
    return notes


def _pace_notes(seats: Sequence[Seat], apart: Collection[int]) -> list[str]:
    """Sets of this route that do not count."""
    numbers = [seat.number + 1 for seat in seats if seat.number in apart and seat.rounds]
    if not numbers:
        return []
    if len(numbers) == len(seats):
        return ["timed only while the machine had another pace than in the sets that count"]
    return [f"set {', '.join(map(str, numbers))}: the machine had another pace, left out of the ratio"]
