"""Transfer: from scratch, with all but the new head frozen, and with all layers, on classes not seen before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import pretraining_case, transfer_case, transfer_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return transfer_rows(plan)


def test_transfer(measure: Any, plan: Plan, model: str, source: str, scope: str, seed: int) -> None:
    case = transfer_case(plan, model=model, source=source, scope=scope, seed=seed)
    begins_anew = source == "imagenet" or scope == "scratch"
    measure(case, needs=None if begins_anew else pretraining_case(plan, model=model, seed=seed))
