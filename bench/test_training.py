"""Training: every recipe of the run, once a seed. Inference is judged with the weights that these leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import training_case, training_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return training_rows(plan)


def requested(plan: Plan, **row: Any) -> Requested:
    return training_case(plan, **row), None


def test_training(measure: Any, plan: Plan, model: str, recipe: str, seed: int) -> None:
    measure(*requested(plan, model=model, recipe=recipe, seed=seed))
