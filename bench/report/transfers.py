"""Transfer: trainings of one network on new classes, by what of it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.groups import Group, training_groups
from bench.report.load import DatasetFacts
from bench.report.rows import IDENTITY, Row, figure
from bench.report.seeds import Comparison, difference, ratio

SCRATCH, HEAD, ALL = "scratch", "head", "all"
SCOPES = {SCRATCH: "from scratch", HEAD: "the new head alone", ALL: "all layers"}
"""What learns, in the order in which it is shown."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One network and source of weights: the seeds of each scope that was measured."""

    scopes: dict[str, Group]

    @property
    def first(self) -> Row:
        return next(iter(self.scopes.values())).first

    @property
    def source(self) -> str:
        return str(self.first["settings"].get("source"))

    def change(self, scope: str, other: str = SCRATCH) -> Comparison | None:
        """Accuracy of one scope less that of another, by seed; None where one of them was not measured."""
        if scope == other or not {scope, other} <= self.scopes.keys():
            return None
        return difference(self.scopes[scope], self.scopes[other])

    def time_over_scratch(self, scope: str) -> Comparison | None:
        if scope == SCRATCH or not {scope, SCRATCH} <= self.scopes.keys():
            return None
        return ratio(self.scopes[scope], self.scopes[SCRATCH], training_seconds)


def training_seconds(row: Row) -> float:
    """Of all epochs together."""
    told = figure(row, "training_seconds")
    return math.fsum(row["processes"][0]) if told is None else told


def transfers(rows: Sequence[Row], datasets: Sequence[DatasetFacts]) -> list[Transfer]:
    """The transfers of ``rows``, in their order."""
    keyed: dict[tuple[object, ...], dict[str, Group]] = {}
    for group in training_groups(rows, datasets):
        keyed.setdefault(_key(group.first), {})[str(group.first["settings"].get("scope"))] = group
    return [
        Transfer(scopes=dict(sorted(scopes.items(), key=lambda pair: _order(pair[0])))) for scopes in keyed.values()
    ]


def _key(row: Row) -> tuple[object, ...]:
    options = tuple(sorted((name, str(value)) for name, value in row["settings"].items() if name != "scope"))
    return (*(row[name] for name in IDENTITY if name not in ("seed", "options")), options)


def _order(scope: str) -> tuple[int, str]:
    known = list(SCOPES)
    return (known.index(scope) if scope in known else len(known)), scope
