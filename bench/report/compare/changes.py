"""Changes that need no test over processes: cases that came or went, counts, peaks of memory."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.core.records import Better, Measurement
from bench.core.turns import TWIN
from bench.report.compare.matching import Entry, Pair
from bench.report.compare.thresholds import PEAK_GRAIN, PEAKS

Outcome = Literal["worse", "better", "changed", "no clear difference", "same", "cannot tell"]
ORDER: tuple[Outcome, ...] = ("worse", "better", "changed", "no clear difference", "same", "cannot tell")
"""Order of outcomes in tables. ``changed`` is neither worse nor better. ``same`` rules out a change as large as the
threshold; with ``no clear difference`` one may hide in the noise."""
BETTER: Mapping[str, Better] = {"B": "lower", "parameters": "lower", "FLOP": "lower"}
"""Unit -> which direction is better, for figures that do not say it themselves. Other counts have no direction."""
WORK = ("tokens", "images")
"""Units of counts that say how much a sample worked on: where they changed, times cannot be compared."""
Transition = Literal["newly failing", "newly working", "failing otherwise", "vanished", "new"]
TRANSITIONS: tuple[Transition, ...] = ("newly failing", "newly working", "failing otherwise", "vanished", "new")
"""``newly failing`` alone is a regression: what vanished may have been left out on purpose."""


class Compared(Protocol):
    """Anything of which there is an outcome."""

    @property
    def outcome(self) -> Outcome: ...


def count(items: Iterable[Compared], outcome: Outcome) -> int:
    return sum(item.outcome == outcome for item in items)


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """A case that did not stay as it was."""

    pair: Pair
    change: Transition


def transitions(pairs: Sequence[Pair]) -> tuple[StateChange, ...]:
    """One for each such case, in the order of ``TRANSITIONS``."""
    found = [StateChange(pair=pair, change=change) for pair in pairs if (change := _state(pair)) is not None]
    return tuple(sorted(found, key=lambda item: TRANSITIONS.index(item.change)))


def _state(pair: Pair) -> Transition | None:
    if pair.old is None or pair.new is None:
        return "new" if pair.old is None else "vanished"
    if not pair.new.failures:
        return "newly working" if pair.old.failures else None
    if not pair.old.failures or _ran(pair.old) & {failure.case.repeat for failure in pair.new.failures}:
        return "newly failing"
    if pair.old.result is not None and pair.new.result is None:
        return "newly failing"
    return None if _kinds(pair.old) == _kinds(pair.new) else "failing otherwise"


def _ran(entry: Entry) -> set[int]:
    """Repeats that gave a measurement: one of them that fails now is a regression, whichever others failed before."""
    return {measurement.case.repeat for measurement in entry.measurements}


def _kinds(entry: Entry) -> set[str]:
    return {failure.kind for failure in entry.failures}


@dataclass(frozen=True, kw_only=True)
class ExactChange:
    """A count that is not the same in both runs. Values are those of all processes, each once and sorted."""

    pair: Pair
    name: str
    unit: str
    better: Better | None
    old: tuple[float, ...]
    new: tuple[float, ...]

    @property
    def outcome(self) -> Outcome:
        """Outcome; of processes that disagree the worst counts. What only one run has is neither worse nor better."""
        if self.better is None or not self.old or not self.new:
            return "changed"
        sign = 1 if self.better == "lower" else -1
        old, new = (max(sign * value for value in values) for values in (self.old, self.new))
        return "worse" if new > old else "better" if new < old else "changed"


Counted = tuple[str, str, Better | None]
"""Name, unit, direction."""


def exact_changes(pairs: Sequence[Pair]) -> tuple[ExactChange, ...]:
    """Every count that differs, of all cases that both runs measured."""
    return tuple(change for pair in pairs for change in _exact(pair))


def other_work(pair: Pair) -> str | None:
    """Difference between the work of a sample in both runs; None where both did the same."""
    if pair.results is None:
        return None
    old, new = (result.first.items_per_step for result in pair.results)
    if old != new:
        return f"{old} and {new} items a step"
    changed = [change.name for change in _exact(pair) if change.unit in WORK]
    return f"other work: {', '.join(changed)}" if changed else None


def _exact(pair: Pair) -> Iterator[ExactChange]:
    if pair.both is None or pair.results is None:
        return
    old, new = (_counts(entry) for entry in pair.both)
    for key in dict.fromkeys((*old, *new)):
        before, after = (tuple(sorted(side.get(key, ()))) for side in (old, new))
        if before != after:
            name, unit, better = key
            yield ExactChange(pair=pair, name=name, unit=unit, better=better, old=before, new=after)


def _counts(entry: Entry) -> dict[Counted, set[float]]:
    found: dict[Counted, set[float]] = {}
    for measurement in entry.measurements:
        for key, value in _counts_of(measurement):
            if value is not None:
                found.setdefault(key, set()).add(value)
    return found


def _counts_of(measurement: Measurement) -> Iterator[tuple[Counted, float | None]]:
    yield ("weights", "B", "lower"), measurement.weight_bytes
    yield ("serialised", "B", "lower"), measurement.serialized_bytes
    covered = measurement.coverage
    if covered is not None:
        yield ("converted parameters", "parameters", "higher"), covered.quantized_parameters
        yield ("converted FLOPs", "FLOP", "higher"), covered.quantized_flops
    for name, figure in measurement.figures.items():
        if figure.exact:
            yield (name, figure.unit, figure.better or BETTER.get(figure.unit)), figure.value


@dataclass(frozen=True, kw_only=True)
class PeakChange:
    """A peak of both runs in bytes: one value a process or set, judged by their median and by their spread."""

    pair: Pair
    name: str
    threshold: float
    old: tuple[float, ...]
    new: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.old), statistics.median(self.new)

    @property
    def spread(self) -> float:
        """Largest distance between two values of one run, in bytes: so much a peak moves without any change."""
        return max(max(values) - min(values) for values in (self.old, self.new))

    @property
    def outcome(self) -> Outcome:
        """A change counts beyond the threshold, the grain and the spread; in one process a resident peak may move by
        steps of the allocator, so that nothing is said of it."""
        old, new = self.medians
        grain = 0 if self.name.endswith("torch allocated") else PEAK_GRAIN
        if abs(new - old) <= max(grain, self.threshold * old):
            return "same"
        if self.name in RESIDENT_NAMES and min(len(self.old), len(self.new)) < 2:
            return "cannot tell"
        if abs(new - old) <= self.spread:
            return "no clear difference"
        return "worse" if new > old else "better"


RESIDENT_NAMES = ("steady peak, rss", "load peak, rss", "steady peak, model resident")
"""Peaks of the whole process, in which the C library keeps blocks for later."""
KEPT = "memory kept after loading"


def peak_changes(pairs: Sequence[Pair]) -> tuple[PeakChange, ...]:
    """Every peak that both runs have, of the reference's twin none: it is the reference."""
    chosen = [pair for pair in pairs if pair.both and pair.results and not pair.case.option(TWIN)]
    return tuple(change for pair in chosen if pair.both for change in _peaks(pair, *pair.both))


def _peaks(pair: Pair, old: Entry, new: Entry) -> Iterator[PeakChange]:
    names = {
        (phase, kind): f"{phase} peak, {kind.replace('_', ' ')}"
        for phase in ("steady", "load")
        for kind in PEAKS
        if kind != "resident"
    }
    for (phase, kind), name in {**names, ("load", "resident"): KEPT}.items():
        before, after = (tuple(_values(side.measurements, phase, kind)) for side in (old, new))
        counted = all(any(_values(side.measurements, phase, "torch_allocated")) for side in (old, new))
        if kind == "rss" and counted:
            continue  # of large buffers the C library keeps other blocks in each run, by half of the mark
        if before and after:
            yield PeakChange(pair=pair, name=name, threshold=PEAKS[kind], old=before, new=after)


def _values(measurements: Sequence[Measurement], phase: str, kind: str) -> Iterator[float]:
    """One a process; of a measurement in turns one a set, where its series tells them."""
    for one in measurements:
        if kind == "resident":
            figure = one.figures.get("resident_bytes")
            yield from [figure.value] if figure else []
            continue
        by_set = one.series.get(f"{phase}_{kind}_bytes", ())
        yield from by_set or [peak.bytes for peak in one.peaks if (peak.phase, peak.kind) == (phase, kind)]
