"""Peaks of memory: they vary from process to process, so a change counts from a threshold on."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.core.records import Measurement
from bench.report.compare.matching import Entry, Pair
from bench.report.compare.outcome import Outcome
from bench.report.compare.thresholds import PEAK_GRAIN, PEAKS
from bench.report.rows import PEAKS as COLUMNS

RESIDENT = ("resident", "memory kept after loading")
"""Kind and name of the figure ``resident_bytes``."""


@dataclass(frozen=True, kw_only=True)
class PeakChange:
    """A peak of both runs in bytes, each the median over its processes: the highest of more processes is higher."""

    pair: Pair
    name: str
    threshold: float
    old: float
    new: float

    @property
    def outcome(self) -> Outcome:
        if abs(self.new - self.old) <= PEAK_GRAIN:
            return "same"
        if self.new > self.old * (1 + self.threshold):
            return "worse"
        return "better" if self.new < self.old / (1 + self.threshold) else "same"


def peak_changes(pairs: Sequence[Pair]) -> tuple[PeakChange, ...]:
    """Every peak that both runs have."""
    return tuple(change for pair in pairs if pair.both and pair.rows for change in _of(pair, *pair.both))


def _of(pair: Pair, old: Entry, new: Entry) -> Iterator[PeakChange]:
    names = {(phase, kind): (kind, column.removesuffix(" [B]")) for phase, kind, column in COLUMNS}
    for key, (kind, name) in {**names, ("load", RESIDENT[0]): RESIDENT}.items():
        before, after = ([value for item in side.measurements for value in _values(item, *key)] for side in (old, new))
        if before and after:
            yield PeakChange(
                pair=pair,
                name=name,
                threshold=PEAKS[kind],
                old=statistics.median(before),
                new=statistics.median(after),
            )


def _values(measurement: Measurement, phase: str, kind: str) -> list[float]:
    if kind == RESIDENT[0]:
        figure = measurement.figures.get("resident_bytes")
        return [figure.value] if figure else []
    return [peak.bytes for peak in measurement.peaks if (peak.phase, peak.kind) == (phase, kind)]
