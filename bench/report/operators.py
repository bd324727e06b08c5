"""The most expensive operators of a traced pass, as a row tells them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.report.rows import Row

PREFIX = "operator "
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_OPERATOR = re.compile(rf"(?P<name>.*) \| (?P<calls>\d+) \| (?P<seconds>{_NUMBER}) \| (?P<share>{_NUMBER})", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """``seconds`` of its own, without those of operators that it calls; ``share`` of all such time, a fraction of 1."""

    name: str
    calls: int
    seconds: float
    share: float


def is_operator(name: str) -> bool:
    """Whether a text of a row is an operator, and nothing that was said."""
    return name.startswith(PREFIX)


def operators(row: Row) -> list[Operator]:
    """In the order in which the row has them; what is not written as an operator is left out."""
    found = [_OPERATOR.fullmatch(text) for name, text in row["texts"].items() if is_operator(name)]
    return [
        Operator(
            name=match["name"], calls=int(match["calls"]), seconds=float(match["seconds"]), share=float(match["share"])
        )
        for match in found
        if match
    ]
