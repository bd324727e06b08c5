"""Loading: the rows that load the same thing in different ways, and whether more workers are faster."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.rows import IDENTITY, Row, grouped
from bench.report.seeds import Comparison, rates_ratio

ALONE = "none"
"""In the place of a network: no training step follows."""
WAYS = ("pipeline", "options", "precision", "mode")
"""Identity in which the lines of one table may differ; of the options only the number of workers."""
WORKERS = "workers"


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Ways to load one thing: by number of workers, then without a loader."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def what(self) -> str:
        """Source, size, and what follows each batch."""
        settings, model = self.first["settings"], self.first["model"]
        step = "loading alone" if model == ALONE else f"with a step of {model}"
        source = "random data" if settings.get("source") == "random" else self.first["dataset"]
        return f"{source}, {settings.get('items', self.first['items per step']):,} items, {step}"

    @property
    def without_workers(self) -> Row | None:
        return next((row for row in self.rows if row["settings"].get(WORKERS) == 0), None)

    def worker_pairs(self) -> list[tuple[int, int, Comparison]]:
        """Every smaller and larger number of workers, with the speed of the larger over that of the smaller."""
        counted = [(row["settings"][WORKERS], row) for row in self.rows if WORKERS in row["settings"]]
        ordered = sorted(counted, key=lambda pair: pair[0])
        return [(fewer, more, over(many, few)) for (fewer, few), (more, many) in itertools.combinations(ordered, 2)]


def over(row: Row, other: Row) -> Comparison:
    """Items a second of ``row`` over those of ``other``."""
    return rates_ratio((row["timing"], row), (other["timing"], other))


def loadings(rows: Sequence[Row]) -> list[Loading]:
    """The tables of ``rows``, in their order."""
    shared = tuple(name for name in IDENTITY if name not in WAYS)
    keyed = [{**row, "loaded": _loaded(row)} for row in rows]
    found = grouped(keyed, (*shared, "loaded")).values()
    return [Loading(rows=tuple(sorted(members, key=_order))) for members in found]


def _loaded(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in row["settings"].items() if name != WORKERS))


def _order(row: Row) -> tuple[bool, int]:
    workers = row["settings"].get(WORKERS)
    return workers is None, workers or 0
