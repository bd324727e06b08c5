"""Training made faster: rungs of a ladder, one thing at a time, and whether they learn as much."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.records import Case, Failure
from bench.report.columns import words
from bench.report.content import Content
from bench.report.formats import number, shortened, times
from bench.report.load import DatasetFacts
from bench.report.parts import Column, Part, Quantity, Section, Table, Value, Verdict, paragraph
from bench.report.results import Result, grouped
from bench.report.seeds import (
    DATA_OPTIONS,
    FEW,
    Comparison,
    Group,
    accuracy_value,
    added,
    by_turns,
    comparison_value,
    difference,
    faster,
    training_groups,
    words_of_case,
)

TEXT = f"""\
From the notes' loop up, each rung with one thing more than the fastest rung that has the rest. Where the rungs of a \
seed took turns, an epoch each, speeds are compared within rounds. Ratios and changes of accuracy are paired by seed: \
mean and 95 % interval (Student's t; of logarithms for ratios). Fewer than {FEW} seeds leave it wide."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rung:
    """One way to train of a ladder, over the seeds that gave a measurement, and the failures of the others."""

    position: int
    words: tuple[str, ...]
    group: Group | None
    failures: tuple[Failure, ...] = ()

    @property
    def speed(self) -> float:
        """Images a second; in turns as a multiple of the reference's. 0 if nothing was measured."""
        if self.group is None:
            return 0.0
        ratios = [by_turns(result) for result in self.group.results]
        known = [value for value in ratios if value is not None]
        return statistics.geometric_mean(known) if len(known) == len(ratios) else self.group.rate.value


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """Trainings of one network that differ in how they are fed and computed, from the notes' loop up."""

    model: str
    rungs: tuple[Rung, ...]

    @property
    def measured(self) -> list[Rung]:
        return [rung for rung in self.rungs if rung.group]

    @property
    def start(self) -> Rung | None:
        """The lowest rung as it counts: the faster one, where there are several of it."""
        lowest = [rung for rung in self.measured if rung.position == self.rungs[0].position]
        return max(lowest, key=lambda rung: rung.speed, default=None)

    @property
    def best(self) -> Rung | None:
        """The fastest of the rungs that are faster than the lowest by their interval."""
        clear = [rung for rung in self.measured if (gain := self.over_start(rung)) and gain.side == "above"]
        return max(clear, key=lambda rung: rung.speed, default=None)

    def before(self, rung: Rung, *, measured: bool) -> Rung | None:
        """The rung that ``rung`` goes on from: it has one thing less; of several, the fastest. None for the lowest.

        Args:
            measured: consider rungs alone that gave a measurement.
        """
        had = set(rung.words[1:])
        lower = [one for one in self.rungs if one.position < rung.position and (one.group or not measured)]
        within = [one for one in lower if had.issuperset(one.words[1:])]
        return max(within or lower, key=lambda one: (len(one.words), one.speed), default=None)

    @property
    def path(self) -> list[Rung]:
        """The fastest rung and those that it goes on from, without the lowest; none if no rung is faster."""
        found, rung = list[Rung](), self.best
        while rung is not None and rung.position > self.rungs[0].position:
            found.append(rung)
            rung = self.before(rung, measured=True)
        return found

    def name(self, rung: Rung) -> str:
        under = self.before(rung, measured=False)
        return added(rung.words, under.words if under else None)

    def over_before(self, rung: Rung) -> Comparison | None:
        return _over(rung, self.before(rung, measured=True))

    def over_start(self, rung: Rung) -> Comparison | None:
        return _over(rung, self.start)


def ladders(results: Sequence[Result], failures: Sequence[Failure], datasets: Sequence[DatasetFacts]) -> list[Ladder]:
    """Ladders of ``results``, each with the rungs of it that failed."""
    found = []
    for members in grouped(results, _ladder_of).values():
        groups = {_rung(group.first.case): group for group in training_groups(members, datasets)}
        key = _learnt(members[0].case)
        missing: dict[tuple[object, ...], list[Failure]] = {}
        for failure in failures:
            if failure.case.experiment == "ladder" and _learnt(failure.case) == key:
                missing.setdefault(_rung(failure.case), []).append(failure)
        cases = {**{place: some[0].case for place, some in missing.items()}}
        cases |= {place: group.first.case for place, group in groups.items()}
        rungs = [
            Rung(
                position=int(case.option("rung") or 0),
                words=words_of_case(case),
                group=groups.get(place),
                failures=tuple(missing.get(place, ())),
            )
            for place, case in cases.items()
        ]
        ordered = tuple(sorted(rungs, key=lambda rung: (rung.position, rung.words)))
        found.append(Ladder(model=members[0].case.model, rungs=ordered))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    ladder: Ladder
    rung: Rung

    @property
    def result(self) -> Result | None:
        return self.rung.group.first if self.rung.group else None


def figure(
    name: str, value: Callable[[Line], Value], unit: str = "", better: str | None = None, **form: object
) -> Column[Line]:
    return Column(quantity=Quantity(name=name, unit=unit, better=better, **form), value=value)  # type: ignore[arg-type]


COLUMNS: tuple[Column[Line], ...] = (
    words("rung", lambda line: line.ladder.name(line.rung)),
    figure("images/s", lambda line: line.rung.group.rate if line.rung.group else None, better="higher"),
    figure("× rung before", lambda line: comparison_value(line.ladder.over_before(line.rung)), better="higher"),
    figure("× notes' loop", lambda line: comparison_value(line.ladder.over_start(line.rung)), better="higher"),
    figure(
        "accuracy",
        lambda line: accuracy_value(line.rung.group.accuracy) if line.rung.group else None,
        "%",
        "higher",
        scale=100,
    ),
    figure(
        "change", lambda line: comparison_value(_change(line)), "points", "higher", scale=100, signed=True, decimals=2
    ),
    figure("seeds", lambda line: len(line.rung.group.results) if line.rung.group else None, digits=1),
    figure("compile", lambda line: line.result.first.cold.compile if line.result else None, "s", "lower", digits=2),
    words("marks", lambda line: "; ".join(_marks(line.rung)) or None),
)


def ladder_verdicts(content: Content) -> list[Verdict]:
    """Verdict on training each network that has a ladder."""
    return [_verdict(ladder) for ladder in _ladders(content) if ladder.start]


def ladder_section(content: Content) -> Section | None:
    found = _ladders(content)
    if not found:
        return None
    parts: list[Part] = [paragraph(TEXT)]
    for ladder in found:
        rows = tuple(Line(ladder=ladder, rung=rung) for rung in ladder.rungs)
        table: Table[Line] = Table(columns=COLUMNS, rows=rows, strong=lambda line: line.rung is line.ladder.best)
        parts.append(Section(title=f"{ladder.model}: rungs", parts=(table,)))
    return Section(title="Training made faster", parts=tuple(parts))


def _ladders(content: Content) -> list[Ladder]:
    found = ladders(content.of("ladder"), content.failures, content.datasets)
    return [ladder for ladder in found if not any(rung.group and rung.group.first.meaningless for rung in ladder.rungs)]


def _verdict(ladder: Ladder) -> Verdict:
    best, start = ladder.best, ladder.start
    assert start is not None
    subject = f"Training {ladder.model}"
    if best is None:
        tried = len(ladder.measured) - 1
        return Verdict(subject=subject, route=None, facts=(f"no clear gain over the notes' loop in {tried} rungs",))
    gain = ladder.over_start(best)
    assert gain is not None
    facts = [f"{times(gain.estimate.value)} the notes' loop", *_interval(gain)]
    steps = [(step, rung) for rung in ladder.path if (step := ladder.over_before(rung)) and step.side == "above"]
    largest = max(steps, key=lambda pair: pair[0].estimate.value, default=None)
    facts += [f"largest step {ladder.name(largest[1])} ({times(largest[0].estimate.value)})"] if largest else []
    change = difference(best.group, start.group) if best.group and start.group else None
    if change is not None:
        shown = Quantity(name="", signed=True, scale=100, decimals=2).text(comparison_value(change))
        facts.append(f"accuracy {shown} points")
    return Verdict(subject=subject, route=", ".join(best.words), facts=tuple(facts))


def _interval(found: Comparison) -> list[str]:
    ends = found.estimate.interval
    if found.seeds < 2 or ends is None:
        return ["one seed"]
    return [f"{number(ends.low, 2)} to {number(ends.high, 2)} over {found.seeds} seeds"]


def _change(line: Line) -> Comparison | None:
    start, group = line.ladder.start, line.rung.group
    if start is None or start is line.rung or start.group is None or group is None:
        return None
    return difference(group, start.group)


def _marks(rung: Rung) -> list[str]:
    found = rung.group.marks if rung.group else []
    return [*found, *dict.fromkeys(f"{one.kind.replace('_', ' ')}: {shortened(one.message)}" for one in rung.failures)]


def _ladder_of(result: Result) -> tuple[object, ...]:
    return (*result.place, result.dataset, _learnt(result.case))


def _learnt(case: Case) -> tuple[object, ...]:
    options = tuple(pair for pair in case.options if pair[0] in DATA_OPTIONS)
    return (case.model, case.recipe, case.image_size, case.batch_size, options)


def _rung(case: Case) -> tuple[object, ...]:
    options = tuple(pair for pair in case.options if pair[0] not in DATA_OPTIONS)
    return (case.pipeline, case.mode, case.precision, options)


def _over(rung: Rung, other: Rung | None) -> Comparison | None:
    if other is None or other is rung or rung.group is None or other.group is None:
        return None
    return faster(rung.group, other.group)
