"""The nouns of a document: quantities, columns, tables, verdicts, sections. Printers turn them into text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from bench.core.records import Better
from bench.report.formats import ABSENT, decimals_of, fixed, number, unsigned_zero
from bench.report.statistics import Estimate

Row = TypeVar("Row")
WIDEST = 9
"""Columns of a table at most."""
Value = None | str | int | float | Estimate
"""Content of a cell in SI units. None: not measured."""


@dataclass(frozen=True)
class Strong:
    text: str


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Link:
    text: str
    target: str
    """A relative path, or ``#`` and the anchor of a section."""


Span = str | Strong | Code | Link
Line = tuple[Span, ...]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One figure of a result, declared once for every printer."""

    name: str
    """Header of its column in tables."""
    key: str = ""
    """Its name in measurements.csv; empty where that file has no such column."""
    ends: tuple[str, str] | None = None
    """Names of the ends of its 95 % interval in measurements.csv."""
    unit: str = ""
    """Unit as printed; measurements.csv is in SI units."""
    better: Better | None = None
    scale: float = 1.0
    """Printed value of 1 in SI units."""
    digits: int = 3
    """Significant digits where no interval says how many count."""
    decimals: int | None = None
    """Digits after the point, where they are always the same."""
    signed: bool = False
    words: bool = False
    """True if its values are text, to stand on the left."""
    note: str = ""
    """Meaning, for the legend under a table and for docs/measurements.md."""

    @property
    def header(self) -> str:
        arrow = {"lower": "↓", "higher": "↑", None: ""}[self.better]
        return " ".join(filter(None, (", ".join(filter(None, (self.name, self.unit))), arrow)))

    def text(self, value: Value) -> str:
        """``value`` as a cell shows it."""
        if value is None or value == "":
            return ABSENT
        if isinstance(value, str):
            return value
        if isinstance(value, Estimate):
            return self._estimate(value)
        return self._sign(self._plain(value * self.scale))

    def plain(self, value: float) -> str:
        """``value`` without an interval and with its unit, for sentences."""
        return f"{self.text(value)}{f' {self.unit}' if self.unit else ''}"

    def _plain(self, value: float) -> str:
        if self.decimals is not None:
            return f"{value:{'+' if self.signed else ''},.{self.decimals}f}"
        return f"+{number(value, self.digits)}" if self.signed and value > 0 else number(value, self.digits)

    def _estimate(self, found: Estimate) -> str:
        value, interval = found.value * self.scale, found.interval
        error = interval.error(found.value) * self.scale if interval else 0.0
        if not error or error < 1e-9 * abs(value):
            return self._sign(self._plain(value))
        if interval is not None and error > abs(value) > 0 and interval.low > 0:  # far from as wide to both sides
            low, high = (self._plain(end * self.scale) for end in (interval.low, interval.high))
            return f"{self._plain(value)} ({low} to {high})"
        decimals = decimals_of(error) if self.decimals is None else min(self.decimals, decimals_of(error))
        return f"{self._sign(fixed(value, decimals, signed=self.signed))} ± {fixed(error, decimals)}"

    def _sign(self, text: str) -> str:
        return unsigned_zero(text) if self.signed else text


def sort_key(value: Value) -> str | float | None:
    """``value`` as tables are sorted by it."""
    return value.value if isinstance(value, Estimate) else value


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    quantity: Quantity
    value: Callable[[Row], Value]
    rank: int = 1
    """1: always shown; 2: left out where no row has a value or all rows have the same one."""


@dataclass(frozen=True, kw_only=True)
class Table(Generic[Row]):
    columns: tuple[Column[Row], ...]
    rows: tuple[Row, ...]
    strong: Callable[[Row], bool] = lambda _: False
    """True if a row stands out: by its first cell of text, or as a whole where a printer can."""

    @cached_property
    def shown(self) -> tuple[Column[Row], ...]:
        """Columns that say something, the first so many: the least important ones come last."""
        return tuple(column for column in self.columns if self._tells(column))[:WIDEST]

    def _tells(self, column: Column[Row]) -> bool:
        """True if the column says something: one without any value does not."""
        values = [column.value(row) for row in self.rows]
        if all(value is None or value == "" for value in values):
            return column.rank == 0
        return column.rank < 2 or len(values) == 1 or any(value != values[0] for value in values)

    @property
    def headers(self) -> list[str]:
        return [column.quantity.header for column in self.shown]

    @cached_property
    def values(self) -> list[list[Value]]:
        """Values of each row in SI units."""
        return [[column.value(row) for column in self.shown] for row in self.rows]

    @cached_property
    def texts(self) -> list[list[str]]:
        """Printed cells of each row."""
        quantities = [column.quantity for column in self.shown]
        return [
            [quantity.text(value) for quantity, value in zip(quantities, values, strict=True)] for values in self.values
        ]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Answer for one model."""

    subject: str
    route: str | None
    """None where nothing can be recommended."""
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def line(self) -> Line:
        start: Line = (f"{self.subject}: ", Strong(self.route), ". ") if self.route else (f"{self.subject}: ",)
        facts = [f"{', '.join(self.facts)}."] if self.facts else []
        return (*start, " ".join((*facts, *(f"{warning}." for warning in self.warnings))))


@dataclass(frozen=True)
class Paragraph:
    line: Line


@dataclass(frozen=True)
class Bullets:
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Warned:
    """Text that nobody must miss."""

    line: Line


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file in the report's folder of figures."""

    file: str
    content: bytes
    text: str
    """Description where it cannot be seen."""


@dataclass(frozen=True)
class Pictures:
    """Pictures that stand side by side where there is room."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Parts that are folded away under a title."""

    title: str
    parts: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled part. Sections inside a section are a level lower."""

    title: str
    parts: tuple[Any, ...]
    menu: str | None = None
    """Its name in the page's menu; None: it is not there."""

    @property
    def anchor(self) -> str:
        return anchor(self.title)

    @property
    def empty(self) -> bool:
        return not self.parts


Part = Paragraph | Bullets | Warned | Commands | Pictures | Fold | Verdict | Section | Table[Any]


def paragraph(*spans: Span) -> Paragraph:
    return Paragraph(tuple(spans))


def bullets(lines: Sequence[str | Line]) -> Bullets:
    return Bullets(tuple((line,) if isinstance(line, str) else line for line in lines))


def anchor(title: str) -> str:
    """Fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") or "section"


def walk(parts: Sequence[Any]) -> Iterator[Any]:
    """Every part, those inside sections and folds included."""
    for part in parts:
        yield part
        if isinstance(part, Section | Fold):
            yield from walk(part.parts)
