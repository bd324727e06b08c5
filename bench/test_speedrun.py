"""Speedrun: seconds of training until the test accuracy reaches its target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import speedrun_case, speedrun_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return speedrun_rows(plan)


def requested(plan: Plan, **row: Any) -> Requested:
    return speedrun_case(plan, **row), None


def test_speedrun(measure: Any, plan: Plan, model: str, seed: int) -> None:
    measure(*requested(plan, model=model, seed=seed))
