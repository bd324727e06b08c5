"""Training on several processes: speed, efficiency, accuracy, and gradients checked against those of one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import scaling_case, scaling_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return scaling_rows(plan)


def test_scaling(measure: Any, plan: Plan, model: str, processes: int, scaling: str, seed: int) -> None:
    measure(scaling_case(plan, model=model, processes=processes, scaling=scaling, seed=seed))
