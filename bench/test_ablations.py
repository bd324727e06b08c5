"""Ablations: what the notes say that helps a network, with it and without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import ablation_case, ablation_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return ablation_rows(plan)


def requested(plan: Plan, **row: Any) -> Requested:
    return ablation_case(plan, **row), None


def test_ablations(measure: Any, plan: Plan, model: str, question: str, variant: str, seed: int) -> None:
    measure(*requested(plan, model=model, question=question, variant=variant, seed=seed))
