"""Training steps taken apart: loading, forward pass, backward pass, optimiser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import step_case, step_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return step_rows(plan)


def test_training_step(measure: Any, plan: Plan, model: str, rung: int, repeat: int) -> None:
    measure(step_case(plan, model=model, rung=rung, repeat=repeat))
