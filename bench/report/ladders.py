"""Ladders: trainings of one network that differ in how they are fed and computed, from the notes' loop up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.records import Failure
from bench.report.arithmetic import DATA_OPTIONS, added, options_of, words_of
from bench.report.groups import Group, training_groups
from bench.report.load import DatasetFacts
from bench.report.rows import IDENTITY, Row
from bench.report.seeds import Comparison, faster
from bench.report.statistics import Estimate, per_second

COMPUTED = ("precision", "mode", "pipeline", "seed", "options")
"""Identity in which the rungs of one ladder may differ; of the options only those that say how."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to train, over the seeds that gave a measurement, and the failures of the others."""

    position: int
    words: tuple[str, ...]
    group: Group | None
    failures: tuple[Failure, ...]

    @property
    def rate(self) -> Estimate | None:
        """Images a second."""
        return per_second(self.group.timing, self.group.first["items per step"]) if self.group else None


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """``first`` stands for what all rungs share."""

    first: Row
    rungs: tuple[Rung, ...]

    @property
    def start(self) -> Rung | None:
        """The lowest rung as it counts: the faster one, where there are several of it."""
        lowest = [rung for rung in self.rungs if rung.position == self.rungs[0].position and rung.rate]
        return max(lowest, key=_speed, default=None)

    @property
    def fastest(self) -> Rung | None:
        """The highest median, whether it shows or not."""
        return max((rung for rung in self.rungs if rung.rate), key=_speed, default=None)

    @property
    def best(self) -> Rung | None:
        """The highest median of the rungs that are faster than the lowest by their interval."""
        shown = [rung for rung in self.rungs if (gain := self.over_start(rung)) and gain.side == "above"]
        return max(shown, key=_speed, default=None)

    def before(self, rung: Rung, *, measured: bool) -> Rung | None:
        """The rung under ``rung``; of those that were measured, if asked for. None for the lowest."""
        lower = [other for other in self.rungs if other.position < rung.position and (other.rate or not measured)]
        if not lower or lower[-1].position > self.rungs[0].position:
            return lower[-1] if lower else None
        return self.start or lower[-1]

    def name(self, rung: Rung) -> str:
        under = self.before(rung, measured=False)
        return added(rung.words, under.words if under else None)

    def over_before(self, rung: Rung) -> Comparison | None:
        return _over(rung, self.before(rung, measured=True))

    def over_start(self, rung: Rung) -> Comparison | None:
        return _over(rung, self.start)


def ladders(
    rows: Sequence[Row], failures: Sequence[tuple[Row, Failure]], datasets: Sequence[DatasetFacts]
) -> list[Ladder]:
    """The ladders of ``rows``, each with the rungs of it that failed."""
    failed = [({**row, "settings": dict(failure.case.options)}, failure) for row, failure in failures]
    keyed: dict[tuple[object, ...], tuple[list[Row], list[tuple[Row, Failure]]]] = {}
    for row in rows:
        keyed.setdefault(_key(row), ([], []))[0].append(row)
    for row, failure in failed:
        keyed.setdefault(_key(row), ([], []))[1].append((row, failure))
    return [_ladder(measured, missing, datasets) for measured, missing in keyed.values()]


def _key(row: Row) -> tuple[object, ...]:
    learnt = tuple(sorted((name, str(value)) for name, value in row["settings"].items() if name in DATA_OPTIONS))
    return (*(row[name] for name in IDENTITY if name not in COMPUTED), learnt)


def _ladder(rows: Sequence[Row], failed: Sequence[tuple[Row, Failure]], datasets: Sequence[DatasetFacts]) -> Ladder:
    groups = {_place(group.first): group for group in training_groups(rows, datasets)}
    missing: dict[tuple[object, ...], list[Failure]] = {}
    for row, failure in failed:
        missing.setdefault(_place(row), []).append(failure)
    firsts = {_place(row): row for row in (*rows, *(row for row, _ in failed))}
    rungs = [
        Rung(
            position=_position(row),
            words=words_of(row),
            group=groups.get(place),
            failures=tuple(missing.get(place, ())),
        )
        for place, row in firsts.items()
    ]
    ordered = sorted(rungs, key=lambda rung: (rung.position, rung.words))
    return Ladder(first=next(iter(firsts.values())), rungs=tuple(ordered))


def _place(row: Row) -> tuple[object, ...]:
    options = sorted((name, str(value)) for name, value in options_of(row).items())
    return (_position(row), row["pipeline"], row["mode"], row["precision"], *options)


def _position(row: Row) -> int:
    return int(row["settings"].get("rung") or 0)


def _speed(rung: Rung) -> float:
    return rung.rate.value if rung.rate else 0.0


def _over(rung: Rung, other: Rung | None) -> Comparison | None:
    if other is None or other is rung or rung.group is None or other.group is None:
        return None
    return faster(rung.group, other.group)
