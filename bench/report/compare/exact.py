"""Quantities that are counted, not sampled: any change of them is a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.core.records import Better, Measurement
from bench.report.compare.matching import Entry, Pair
from bench.report.compare.outcome import Outcome

BETTER: Mapping[str, Better] = {"B": "lower", "parameters": "lower", "FLOP": "lower"}
"""Unit -> which direction is better, for figures that do not say it themselves. Other counts have no direction."""
WORK = ("tokens", "images")
"""Units of counts that say how much a sample worked on: where they changed, times cannot be compared."""


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
        """Of processes that disagree the worst counts. What only one run has is neither worse nor better."""
        if self.better is None or not self.old or not self.new:
            return "changed"
        sign = 1 if self.better == "lower" else -1
        old, new = (max(sign * value for value in values) for values in (self.old, self.new))
        return "worse" if new > old else "better" if new < old else "changed"


def exact_changes(pairs: Sequence[Pair]) -> tuple[ExactChange, ...]:
    """Every exact quantity that differs, of all cases that both runs measured."""
    return tuple(change for pair in pairs for change in _changes(pair))


def other_work(pair: Pair) -> str | None:
    """What a sample of the one run worked on and one of the other did not; None where both did the same."""
    old, new = pair.rows or ({}, {})
    if old.get("items per step") != new.get("items per step"):
        return f"{old['items per step']} and {new['items per step']} items a step"
    changed = [change.name for change in _changes(pair) if change.unit in WORK]
    return f"other work: {', '.join(changed)}" if changed else None


def _changes(pair: Pair) -> Iterator[ExactChange]:
    if pair.both is None or pair.rows is None:
        return
    old, new = (_quantities(entry) for entry in pair.both)
    for key in dict.fromkeys((*old, *new)):
        before, after = (tuple(sorted(side.get(key, ()))) for side in (old, new))
        if before != after:
            name, unit, better = key
            yield ExactChange(pair=pair, name=name, unit=unit, better=better, old=before, new=after)


Quantity = tuple[str, str, Better | None]
"""Name, unit, direction."""


def _quantities(entry: Entry) -> dict[Quantity, set[float]]:
    found: dict[Quantity, set[float]] = {}
    for measurement in entry.measurements:
        for key, value in _of(measurement):
            if value is not None:
                found.setdefault(key, set()).add(value)
    return found


def _of(measurement: Measurement) -> Iterator[tuple[Quantity, float | None]]:
    yield ("weights", "B", "lower"), measurement.weight_bytes
    yield ("serialised", "B", "lower"), measurement.serialized_bytes
    covered = measurement.coverage
    if covered is not None:
        yield ("converted parameters", "parameters", "higher"), covered.quantized_parameters
        yield ("converted FLOPs", "FLOP", "higher"), covered.quantized_flops
    for name, figure in measurement.figures.items():
        if figure.exact:
            yield (name, figure.unit, figure.better or BETTER.get(figure.unit)), figure.value
