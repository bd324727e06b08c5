"""Crossover: from which batch size each route of a classifier is the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.choosing import Choice
from bench.report.columns import words
from bench.report.content import Content
from bench.report.drawings.crossover import crossover_picture
from bench.report.pairing import clearly_slower
from bench.report.parts import Column, Part, Picture, Pictures, Quantity, Section, Table, paragraph
from bench.report.results import Route
from bench.report.sections.pictures import MOST, picture_of, word_of

FEWEST = 3
"""Batch sizes from which on there is a course to see."""
TEXT = """\
A route wins where no other is faster beyond the noise, whatever its accuracy. Images a second are those of single \
calls, one after another."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """A route of a network at several batch sizes."""

    route: Route
    rates: dict[int, float]
    """Images a second by batch size."""
    wins: tuple[int, ...]
    """Batch sizes at which no other route is clearly faster."""

    @property
    def words(self) -> str:
        """Batch size from which on it wins, or where it does."""
        if not self.wins:
            return "nowhere"
        larger = [batch for batch in sorted(self.rates) if batch >= self.wins[0]]
        if list(self.wins) == larger:
            return f"from {self.wins[0]}"
        return f"at {', '.join(map(str, self.wins))}"


def crossover_section(content: Content) -> Section | None:
    """Empty where no network has three batch sizes or more."""
    networks = [choices for choices in content.networks if len({choice.batch for choice in choices}) >= FEWEST]
    if not networks or content.smoke:
        return None
    parts: list[Part] = [paragraph(TEXT)]
    drawn: list[Picture] = []
    for place, choices in enumerate(networks, start=1):
        courses = courses_of(choices)
        parts.append(Section(title=choices[0].model, parts=(_table(courses),)))
        if len(drawn) < MOST:  # a fifth of a second each
            drawn += filter(None, [_picture(choices[0].model, courses, place)])
    return Section(title="From which batch size each route wins", parts=(*parts, Pictures(tuple(drawn))))


def _picture(model: str, courses: Sequence[Course], place: int) -> Picture | None:
    lines = {one.route: sorted(one.rates.items()) for one in courses}
    name = f"crossover-{word_of(model)}-{place}.svg"
    return picture_of(name, crossover_picture(model, lines), f"batch sizes of {model}")


def courses_of(choices: Sequence[Choice]) -> list[Course]:
    """Routes of one network over its batch sizes, those first that win at most of them."""
    found: dict[Route, dict[int, float]] = {}
    wins: dict[Route, list[int]] = {}
    for choice in sorted(choices, key=lambda one: one.batch):
        for one in choice.candidates:
            found.setdefault(one.route, {})[choice.batch] = choice.batch * one.speed
            if not any(clearly_slower(other.result, one.result) for other in choice.candidates if other is not one):
                wins.setdefault(one.route, []).append(choice.batch)
    courses = [Course(route=route, rates=rates, wins=tuple(wins.get(route, ()))) for route, rates in found.items()]
    return sorted(courses, key=lambda one: (-len(one.wins), -max(one.rates.values())))


def _table(courses: Sequence[Course]) -> Table[Course]:
    batches = sorted({batch for one in courses for batch in one.rates})
    shown = batches if len(batches) <= 6 else sorted({*batches[:: -(-len(batches) // 6)], batches[-1]})[-6:]
    return Table(
        columns=(
            words("route", lambda one: one.route.short),
            words("wins", lambda one: one.words),
            *(
                Column(
                    quantity=Quantity(name=f"batch {batch}", unit="images/s", better="higher"),
                    value=lambda one, batch=batch: one.rates.get(batch),  # type: ignore[misc]
                )
                for batch in shown
            ),
        ),
        rows=tuple(courses),
    )
