"""Training made faster: rungs of a ladder, one thing at a time, and whether they learn as much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.report.columns import words
from bench.report.content import Content
from bench.report.formats import number, shortened, times
from bench.report.parts import Column, Part, Quantity, Section, Table, Value, Verdict, paragraph
from bench.report.results import Result
from bench.report.seeds import (
    FEW,
    Comparison,
    Ladder,
    Rung,
    accuracy_value,
    comparison_value,
    difference,
    ladders,
)

TEXT = f"""\
From the notes' loop up, each rung with one thing more than the one before. Ratios and changes of accuracy are \
paired by seed: mean and 95 % interval (Student's t; of logarithms for ratios). Fewer than {FEW} seeds leave it wide; \
of one seed there is none."""


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
    steps = [(step, rung) for rung in ladder.measured if (step := ladder.over_before(rung)) and step.side == "above"]
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
