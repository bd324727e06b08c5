"""The ladder: how fast each network trains, from the notes' loop up, one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import ladder_case, ladder_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return ladder_rows(plan)


def requested(plan: Plan, **row: Any) -> Requested:
    return ladder_case(plan, **row), None


def test_ladder(measure: Any, plan: Plan, model: str, rung: int, seed: int) -> None:
    measure(*requested(plan, model=model, rung=rung, seed=seed))
